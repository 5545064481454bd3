package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const dialTimeout = 5 * time.Second

// forward joins client with target until both directions have ended. When
// target cannot be reached the client is reset rather than left to guess.
func forward(client *net.TCPConn, namespace string, target netip.AddrPort) {
	defer client.Close()
	server, err := dialIn(namespace, target)
	if err != nil {
		fmt.Fprintln(os.Stderr, "apiforward:", err)
		_ = client.SetLinger(0)
		return
	}
	defer server.Close()
	join(client, server)
}

// join copies both directions. The end of one is passed on as a half-close; an error ends both.
func join(a, b *net.TCPConn) {
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		_ = way[0].SetNoDelay(true)
		both.Go(func() {
			_, err := io.Copy(way[1], way[0])
			if err == nil {
				err = way[1].CloseWrite()
			}
			if err != nil {
				_ = a.Close()
				_ = b.Close()
			}
		})
	}
	both.Wait()
}

// dialIn connects to target from the network namespace that the file names now.
// A socket stays in the namespace it was made in, so only the dialling thread moves.
func dialIn(namespace string, target netip.AddrPort) (*net.TCPConn, error) {
	type result struct {
		connection net.Conn
		err        error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked in error: the runtime then ends a thread that did not come home
		restore, err := enter(namespace)
		if err != nil {
			done <- result{err: err}
			return
		}
		// An address, not a name: the dialler then makes its socket on this very thread.
		connection, err := (&net.Dialer{Timeout: dialTimeout}).Dial("tcp", target.String())
		if restore() == nil {
			runtime.UnlockOSThread()
		}
		done <- result{connection, err}
	}()
	dialled := <-done
	if dialled.err != nil {
		return nil, dialled.err
	}
	return dialled.connection.(*net.TCPConn), nil
}

// enter moves the calling thread into a network namespace; restore takes it back.
func enter(namespace string) (restore func() error, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	other, err := os.Open(namespace)
	if err != nil {
		home.Close()
		return nil, err
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		home.Close()
		return nil, fmt.Errorf("entering %s: %w", namespace, err)
	}
	return func() error {
		defer home.Close()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	}, nil
}
