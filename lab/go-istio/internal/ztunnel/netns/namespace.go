// Package netns opens sockets in the network namespaces of pods.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Namespace is the network namespace of one pod. It keeps an os.File and not a bare
// number: the number of a closed file may soon be another pod's.
type Namespace struct{ file *os.File }

// FromFile takes over an open namespace file.
func FromFile(file *os.File) *Namespace { return &Namespace{file} }

// Close gives the namespace up; sockets opened in it live on.
func (n *Namespace) Close() error { return n.file.Close() }

// Same tells whether both are one namespace of the kernel.
func (n *Namespace) Same(other *Namespace) bool {
	mine, err := n.file.Stat()
	if err != nil {
		return false
	}
	theirs, err := other.file.Stat()
	return err == nil && os.SameFile(mine, theirs)
}

// home is the namespace this process was started in.
var home = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/ns/net") })

// Do runs f on an OS thread that has entered the namespace. A socket belongs for
// ever to the namespace it was created in, so only its creation needs this.
func (n *Namespace) Do(f func() error) error {
	own, err := home()
	if err != nil {
		return fmt.Errorf("own network namespace: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := enter(n.file)
		if err == nil {
			err = f()
		}
		if enter(own) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		done <- err
	}()
	return <-done
}

func enter(namespace *os.File) error {
	connection, err := namespace.SyscallConn()
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	var failed error
	err = connection.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setns", unix.Setns(int(fd), unix.CLONE_NEWNET))
	})
	return errors.Join(err, failed)
}
