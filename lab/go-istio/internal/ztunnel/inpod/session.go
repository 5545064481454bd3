// Package inpod speaks with istio-cni's node agent: it hands over the network
// namespaces of the node's enrolled pods.
package inpod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"istio.io/istio/pkg/zdsapi"
)

const reconnectPause = time.Second

// Pods are told of each change. They are called from one goroutine.
type Pods interface {
	// Add serves a pod; the agent holds back the pod's start until it returns. With
	// an error the namespace stays the caller's.
	Add(uid string, info *zdsapi.WorkloadInfo, namespace *netns.Namespace) error
	// Delete ends a pod that was deleted or un-enrolled.
	Delete(uid string)
	// Retain deletes every pod that is not named.
	Retain(uids map[string]bool)
}

// Follow keeps the connection to the agent until the context ends. inSync is called
// after each complete snapshot. Pods live on while the agent is away; its next
// snapshot says which of them are gone.
func Follow(ctx context.Context, socket string, pods Pods, inSync func(), log func(string, ...any)) {
	for ctx.Err() == nil {
		log("connection to the CNI agent ended: %v", session(ctx, socket, pods, inSync))
		select {
		case <-ctx.Done():
		case <-time.After(reconnectPause):
		}
	}
}

// session: hello, then for each message of the agent exactly one acknowledgement.
func session(ctx context.Context, socket string, pods Pods, inSync func()) error {
	// The socket is SOCK_SEQPACKET: one read is one message.
	connection, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	if err := send(connection, &zdsapi.ZdsHello{Version: zdsapi.Version_V1}); err != nil {
		return err
	}
	snapshot := map[string]bool{} // uids named before the snapshot's end
	buffer, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	for {
		size, controlSize, flags, _, err := connection.ReadMsgUnix(buffer, control)
		if err != nil {
			return err
		}
		if size == 0 {
			return errors.New("closed by the agent")
		}
		namespace, err := receivedNamespace(control[:controlSize])
		if err != nil {
			return err
		}
		var request zdsapi.WorkloadRequest
		if flags&unix.MSG_TRUNC != 0 {
			err = fmt.Errorf("a message is longer than %d bytes", len(buffer))
		} else {
			err = proto.Unmarshal(buffer[:size], &request)
		}
		if err != nil {
			closeUnused(namespace)
			return err
		}
		acknowledgement := &zdsapi.Ack{}
		if err := handle(&request, namespace, pods, snapshot, inSync); err != nil {
			closeUnused(namespace)
			acknowledgement.Error = err.Error()
		}
		response := &zdsapi.WorkloadResponse{Payload: &zdsapi.WorkloadResponse_Ack{Ack: acknowledgement}}
		if err := send(connection, response); err != nil {
			return err
		}
	}
}

func handle(request *zdsapi.WorkloadRequest, namespace *netns.Namespace, pods Pods, snapshot map[string]bool, inSync func()) error {
	switch payload := request.Payload.(type) {
	case *zdsapi.WorkloadRequest_Add:
		add := payload.Add
		snapshot[add.Uid] = true
		if namespace == nil || add.WorkloadInfo == nil {
			return fmt.Errorf("pod %s came without a network namespace or a description", add.Uid)
		}
		return pods.Add(add.Uid, add.WorkloadInfo, namespace)
	case *zdsapi.WorkloadRequest_Keep:
		snapshot[payload.Keep.Uid] = true
	case *zdsapi.WorkloadRequest_Del:
		pods.Delete(payload.Del.Uid)
	case *zdsapi.WorkloadRequest_SnapshotSent:
		pods.Retain(snapshot)
		inSync()
	default:
		return errors.New("a message of a kind that version 1 does not have")
	}
	return nil
}

func send(connection net.Conn, message proto.Message) error {
	bytes, err := proto.Marshal(message)
	if err == nil {
		_, err = connection.Write(bytes)
	}
	return err
}

// receivedNamespace takes the one file that may come along; none is nil.
func receivedNamespace(control []byte) (*netns.Namespace, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var files []int
	for _, message := range messages {
		received, err := unix.ParseUnixRights(&message)
		if err != nil {
			return nil, fmt.Errorf("control message: %w", err)
		}
		files = append(files, received...)
	}
	if len(files) != 1 {
		for _, file := range files {
			_ = unix.Close(file)
		}
		return nil, fmt.Errorf("%d files in one message, not one", len(files))
	}
	unix.CloseOnExec(files[0])
	return netns.FromFile(os.NewFile(uintptr(files[0]), "netns")), nil
}

func closeUnused(namespace *netns.Namespace) {
	if namespace != nil {
		_ = namespace.Close()
	}
}
