package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// home is this process's network namespace, read before any thread leaves it.
var home, homeError = os.Readlink("/proc/thread-self/ns/net")

// newNamespace makes a network namespace with loopback up and binds it to a file.
// serve runs inside it, on a thread that ends with the test.
func newNamespace(t *testing.T, path string, serve func() net.Listener) net.Listener {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			done <- result{err: err}
			return
		}
		done <- result{listener: serve()}
	}()
	made := <-done
	if made.err != nil {
		t.Skipf("no network namespace can be made here: %v", made.err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		if made.listener != nil {
			made.listener.Close()
		}
	})
	return made.listener
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// answering is a server that reads to the end of its input, then answers with greeting and the input.
func answering(t *testing.T, greeting string) func() net.Listener {
	return func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return nil
		}
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				input, _ := io.ReadAll(connection)
				_, _ = io.WriteString(connection, greeting+string(input))
				connection.Close()
			}
		}()
		return listener
	}
}

func target(t *testing.T, listener net.Listener) netip.AddrPort {
	t.Helper()
	address, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// through sends what over a forwarded connection, half-closes it and returns all that comes back.
func through(t *testing.T, namespace string, to netip.AddrPort, what string) (string, error) {
	t.Helper()
	entry, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	go func() {
		if client, err := entry.Accept(); err == nil {
			forward(client.(*net.TCPConn), namespace, to)
		}
	}()
	connection, err := net.Dial("tcp", entry.Addr().String())
	if err != nil { // reset that soon
		return "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(connection, what); err != nil {
		return "", err
	}
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(connection)
	return string(answer), err
}

func TestForwardsIntoTheNamespaceAndKeepsHalfClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	to := target(t, newNamespace(t, path, answering(t, "inside ")))
	if _, err := net.DialTimeout("tcp", to.String(), time.Second); err == nil {
		t.Fatalf("%s answers in the test's own namespace: the test would prove nothing", to)
	}
	what := strings.Repeat("x", 1<<20)
	for range 3 {
		if answer, err := through(t, path, to, what); err != nil || answer != "inside "+what {
			t.Fatalf("%d bytes, %v", len(answer), err)
		}
	}
}

func TestLooksTheNamespaceUpForEachConnection(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "node")
	for _, name := range []string{"first", "second"} {
		path := filepath.Join(folder, name)
		to := target(t, newNamespace(t, path, answering(t, name+" ")))
		_ = os.Remove(link)
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if answer, err := through(t, link, to, ""); err != nil || answer != name+" " {
			t.Fatalf("%s: %q, %v", name, answer, err)
		}
	}
}

func TestResetsTheClientWhenNobodyListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	listener := newNamespace(t, path, answering(t, ""))
	to := target(t, listener)
	listener.Close()
	if answer, err := through(t, path, to, ""); err == nil {
		t.Fatalf("got %q and no error", answer)
	}
	if answer, err := through(t, filepath.Join(path, "missing"), to, ""); err == nil {
		t.Fatalf("without a namespace: got %q and no error", answer)
	}
}

func TestTheDiallingThreadComesHome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	to := target(t, newNamespace(t, path, answering(t, "")))
	for range 20 {
		if connection, err := dialIn(path, to); err != nil {
			t.Fatal(err)
		} else {
			connection.Close()
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || homeError != nil || len(threads) == 0 {
		t.Fatal(threads, err, homeError)
	}
	for _, thread := range threads {
		if strings.HasPrefix(thread, fmt.Sprintf("/proc/self/task/%d/", os.Getpid())) {
			continue // Go parks its first thread instead of ending it, and newNamespace may have had it
		}
		if now, err := os.Readlink(thread); err == nil && now != home {
			t.Errorf("%s is %s, home is %s", thread, now, home)
		}
	}
}
