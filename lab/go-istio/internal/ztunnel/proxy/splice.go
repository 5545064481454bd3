package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// lingering is how long the client of a tunnel that has ended may still talk.
const lingering = time.Second

// stream is one side of a connection that is passed on.
type stream interface {
	io.ReadWriteCloser
	// CloseWrite tells the other end that no more comes. A side that cannot say so
	// alone returns an error and is closed.
	CloseWrite() error
}

// splice copies both ways until both sides are done, and passes half-closes on.
// sent is what client said. The error is the first failure of either way; when the
// context ends it is the context's cause.
func splice(ctx context.Context, client, far stream) (sent, received int64, err error) {
	both := &pair{client: client, far: far}
	defer both.close()
	defer context.AfterFunc(ctx, both.close)()

	outward := make(chan error, 1)
	go func() {
		var failure error
		sent, failure = both.pass(far, client)
		outward <- failure
	}()
	received, inward := both.pass(client, far)
	if whole, ok := far.(interface{ endsWhole() bool }); ok && whole.endsWhole() {
		if limited, ok := client.(interface{ SetReadDeadline(time.Time) error }); ok {
			_ = limited.SetReadDeadline(time.Now().Add(lingering))
		}
	}
	err = errors.Join(<-outward, inward)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return sent, received, err
}

type pair struct {
	client, far stream
	ended       atomic.Bool
}

func (p *pair) close() {
	p.ended.Store(true)
	_ = p.client.Close()
	_ = p.far.Close()
}

// pass copies one way. A failure, or a half-close that cannot be passed on, ends
// both ways. The end that the other way brought about is no failure of this one,
// nor is the end of lingering.
func (p *pair) pass(to, from stream) (int64, error) {
	count, err := io.Copy(to, from)
	if p.ended.Load() || errors.Is(err, os.ErrDeadlineExceeded) {
		p.close()
		return count, nil
	}
	if err != nil || to.CloseWrite() != nil {
		p.close()
	}
	return count, err
}
