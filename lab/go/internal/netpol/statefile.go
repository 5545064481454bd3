package netpol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// stateFile keeps Persistent on disk. An empty path keeps nothing.
type stateFile struct {
	mu   sync.Mutex
	path string
}

// load returns the saved state; empty if there is none.
func (f *stateFile) load() (Persistent, error) {
	var saved Persistent
	if f.path == "" {
		return saved, nil
	}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err != nil {
		return saved, fmt.Errorf("cannot read the state file %s: %w; delete it to start afresh", f.path, err)
	}
	return saved, nil
}

// save writes the present state whole or not at all. It is taken under the
// lock, so that of two writers the later one has the later state.
func (f *stateFile) save(present func() Persistent) error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := json.MarshalIndent(present(), "", "  ")
	if err == nil {
		err = os.WriteFile(f.path+".new", append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		return fmt.Errorf("cannot write the state file %s: %w", f.path, err)
	}
	return nil
}
