package netpol

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"
)

const (
	// coalesce is how long the enforcer gathers changes before it acts on them.
	coalesce = 20 * time.Millisecond
	// Failed loads are repeated after retryFirst, doubling up to retryLast.
	retryFirst = 200 * time.Millisecond
	retryLast  = 5 * time.Second
)

// Enforcer keeps the kernel's rules equal to the state.
type Enforcer struct {
	state  *State
	loader Loader
	wake   chan struct{}

	mu         sync.Mutex
	synced     bool
	loaded     int64 // revision that the kernel has
	generation int64
	loadedAt   time.Time
	script     string // what the kernel has; "" = not known
	lastError  error
	model      Model
	view       View
	progress   chan struct{} // closed and replaced whenever a field above changes
}

// NewEnforcer makes an enforcer whose state begins empty in the given mode.
func NewEnforcer(node, uplink string, mode Mode, loader Loader) *Enforcer {
	e := &Enforcer{loader: loader, wake: make(chan struct{}, 1), progress: make(chan struct{})}
	e.state = NewState(node, uplink, mode, e.poke)
	return e
}

// poke asks for a round; it never blocks.
func (e *Enforcer) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Start lets the rules be loaded: before the state is complete, the kernel
// keeps what an earlier run of the daemon left there.
func (e *Enforcer) Start() {
	e.mu.Lock()
	e.synced = true
	e.mu.Unlock()
	e.poke()
}

// Run loads the rules after each change until the context ends. The rules stay
// in the kernel then.
func (e *Enforcer) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	retry := retryFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.wake:
			if !sleep(ctx, coalesce) {
				return
			}
			// The view below contains what was announced meanwhile.
			select {
			case <-e.wake:
			default:
			}
		}
		next, err := e.round(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Printf("netpol: %v; trying again in %s", err, retry)
			timer.Reset(retry)
			retry = min(2*retry, retryLast)
		default:
			retry = retryFirst
			wait := time.Hour
			if !next.IsZero() {
				wait = max(0, time.Until(next))
			}
			timer.Reset(wait)
		}
	}
}

// round brings the kernel to the present state and returns when the next round
// is due although nothing changes (zero = never).
func (e *Enforcer) round(ctx context.Context, now time.Time) (time.Time, error) {
	e.mu.Lock()
	synced, current := e.synced, e.script
	e.mu.Unlock()
	if !synced {
		return time.Time{}, nil
	}
	view := e.state.View(now)
	model, script := Model{Uplink: view.Input.Uplink}, RemoveScript
	if !view.Mode.Off {
		model = Compile(view.Input)
		model.Deny = view.Mode.Deny
		script = Render(model)
	}
	var err error
	if script != current {
		err = e.loader.Load(ctx, script)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastError = err
	if err == nil {
		if script != current {
			e.generation++
			e.loadedAt = time.Now()
		}
		e.script, e.loaded, e.model, e.view = script, view.Revision, model, view
	}
	close(e.progress)
	e.progress = make(chan struct{})
	return view.Next, err
}

// WaitLoaded returns when the kernel has that revision of the state.
func (e *Enforcer) WaitLoaded(ctx context.Context, revision int64) error {
	return e.wait(ctx, func() bool { return e.loaded >= revision })
}

// WaitGeneration returns when the rules were loaded that often.
func (e *Enforcer) WaitGeneration(ctx context.Context, generation int64) error {
	return e.wait(ctx, func() bool { return e.generation >= generation })
}

// wait blocks until holds (called with the lock held) is true.
func (e *Enforcer) wait(ctx context.Context, holds func() bool) error {
	for {
		e.mu.Lock()
		done, progress, lastError := holds(), e.progress, e.lastError
		e.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			if lastError != nil {
				return fmt.Errorf("the rules are not loaded: %w", lastError)
			}
			return errors.New("the rules are not loaded in time; `netpol status` tells the state")
		}
	}
}

// sleep waits and tells whether the context is still alive.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
