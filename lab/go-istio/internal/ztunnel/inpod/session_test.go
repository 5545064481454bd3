package inpod

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"istio.io/istio/pkg/zdsapi"
)

// recorder notes what a session asks for, in order.
type recorder struct {
	calls chan string
	full  atomic.Bool // no pod can be added
}

func (r *recorder) Add(uid string, info *zdsapi.WorkloadInfo, namespace *netns.Namespace) error {
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	r.calls <- fmt.Sprintf("add %s %s/%s as %s, right namespace %v", uid, info.Namespace, info.Name, info.ServiceAccount, namespace.Same(netns.FromFile(own)))
	if r.full.Load() {
		return errors.New("no port is free")
	}
	return namespace.Close()
}

func (r *recorder) Delete(uid string) { r.calls <- "delete " + uid }

func (r *recorder) Retain(uids map[string]bool) {
	r.calls <- "retain " + strings.Join(slices.Sorted(maps.Keys(uids)), " ")
}

type agent struct {
	*testing.T
	listener *net.UnixListener
	pods     *recorder
	synced   chan struct{}
}

func start(t *testing.T) *agent {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t, listener, &recorder{calls: make(chan string, 16)}, make(chan struct{}, 16)}
	go Follow(t.Context(), path, a.pods, func() { a.synced <- struct{}{} }, func(string, ...any) {})
	t.Cleanup(func() { _ = listener.Close() })
	return a
}

// accept takes the next connection and its hello.
func (a *agent) accept() *net.UnixConn {
	a.Helper()
	_ = a.listener.SetDeadline(time.Now().Add(10 * time.Second))
	connection, err := a.listener.AcceptUnix()
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	buffer, hello := make([]byte, 1024), &zdsapi.ZdsHello{}
	size, err := connection.Read(buffer)
	if err != nil || proto.Unmarshal(buffer[:size], hello) != nil || hello.Version != zdsapi.Version_V1 {
		a.Fatalf("hello %v %v", hello, err)
	}
	return connection
}

// say sends one message with files and returns the error in the acknowledgement.
func (a *agent) say(connection *net.UnixConn, message proto.Message, files ...*os.File) string {
	a.Helper()
	bytes, err := proto.Marshal(message)
	if err != nil {
		a.Fatal(err)
	}
	var control []byte
	if len(files) > 0 {
		var numbers []int
		for _, file := range files {
			numbers = append(numbers, int(file.Fd()))
		}
		control = unix.UnixRights(numbers...)
	}
	if _, _, err := connection.WriteMsgUnix(bytes, control, nil); err != nil {
		a.Fatal(err)
	}
	buffer, response := make([]byte, 1024), &zdsapi.WorkloadResponse{}
	size, err := connection.Read(buffer)
	if err != nil || size == 0 || proto.Unmarshal(buffer[:size], response) != nil || response.GetAck() == nil {
		return fmt.Sprintf("no acknowledgement: %d bytes, %v", size, err)
	}
	return response.GetAck().Error
}

func (a *agent) expect(want ...string) {
	a.Helper()
	for _, call := range want {
		select {
		case got := <-a.pods.calls:
			if got != call {
				a.Errorf("%q, not %q", got, call)
			}
		case <-time.After(5 * time.Second):
			a.Fatalf("no %q", call)
		}
	}
	select {
	case got := <-a.pods.calls:
		a.Errorf("%q was not asked for", got)
	default:
	}
}

func namespaceFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func add(uid string) *zdsapi.WorkloadRequest {
	return &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Add{Add: &zdsapi.AddWorkload{
		Uid: uid, WorkloadInfo: &zdsapi.WorkloadInfo{Name: "name-" + uid, Namespace: "core", ServiceAccount: "alice"},
	}}}
}

var sent = &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_SnapshotSent{SnapshotSent: &zdsapi.SnapshotSent{}}}

func TestSession(t *testing.T) {
	a, file := start(t), namespaceFile(t)
	connection := a.accept()
	keep := &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Keep{Keep: &zdsapi.KeepWorkload{Uid: "kept"}}}
	remove := &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Del{Del: &zdsapi.DelWorkload{Uid: "one"}}}
	for _, message := range []*zdsapi.WorkloadRequest{keep, sent, remove} {
		if message == keep {
			if complaint := a.say(connection, add("one"), file); complaint != "" {
				t.Error(complaint)
			}
		}
		if message == sent && len(a.synced) != 0 {
			t.Error("in sync before the snapshot was complete")
		}
		if complaint := a.say(connection, message); complaint != "" {
			t.Error(complaint)
		}
	}
	a.expect("add one core/name-one as alice, right namespace true", "retain kept one", "delete one")
	<-a.synced

	_ = connection.Close()
	connection = a.accept()
	if complaint := a.say(connection, sent); complaint != "" {
		t.Error(complaint)
	}
	a.expect("retain ") // a new snapshot starts from nothing
	<-a.synced
}

func TestSessionComplains(t *testing.T) {
	a, file := start(t), namespaceFile(t)
	connection := a.accept()
	for name, test := range map[string]struct {
		message proto.Message
		files   []*os.File
		want    string
	}{
		"no namespace":   {add("one"), nil, "without a network namespace"},
		"no description": {&zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Add{Add: &zdsapi.AddWorkload{Uid: "one"}}}, []*os.File{file}, "without a network namespace or a description"},
		"unknown kind":   {&zdsapi.ZdsHello{Version: 7}, []*os.File{file}, "a kind that version 1 does not have"},
	} {
		if complaint := a.say(connection, test.message, test.files...); !strings.Contains(complaint, test.want) {
			t.Errorf("%s: %q", name, complaint)
		}
	}
	a.expect()
	a.pods.full.Store(true)
	if complaint := a.say(connection, add("one"), file); complaint != "no port is free" {
		t.Errorf("a pod that cannot be served: %q", complaint)
	}
	<-a.pods.calls
	if complaint := a.say(connection, sent); complaint != "" {
		t.Errorf("after complaints: %q", complaint)
	}
	// A snapshot names the failed pod too: it exists, and the agent will send it again.
	a.expect("retain one")
}

func TestSessionEndsOnNonsense(t *testing.T) {
	file := namespaceFile(t)
	for name, send := range map[string]func(*agent, *net.UnixConn) string{
		"two files": func(a *agent, c *net.UnixConn) string { return a.say(c, add("one"), file, file) },
		"too long": func(a *agent, c *net.UnixConn) string {
			return a.say(c, add(strings.Repeat("x", 5000)), file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			if answer := send(a, a.accept()); !strings.Contains(answer, "no acknowledgement") {
				t.Errorf("%q", answer)
			}
			a.expect()
			a.say(a.accept(), sent) // it connects again
		})
	}
}
