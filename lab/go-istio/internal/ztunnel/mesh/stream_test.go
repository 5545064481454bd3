package mesh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// istiod hands each stream to the test.
type istiod struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	streams chan *session
}

type session struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	over chan struct{}
}

func (i *istiod) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := &session{stream, make(chan struct{})}
	i.streams <- s
	select {
	case <-s.over:
	case <-stream.Context().Done():
	}
	return nil
}

// follow starts State.Follow against an istiod of the test's own.
func follow(t *testing.T) (*State, <-chan *session, <-chan struct{}) {
	t.Helper()
	listener, server, fake := bufconn.Listen(1<<16), grpc.NewServer(), &istiod{streams: make(chan *session)}
	discovery.RegisterAggregatedDiscoveryServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	client, err := grpc.NewClient("passthrough:istiod", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	state, synced, done := NewState(), make(chan struct{}, 8), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		node := Node{"10.0.0.99", "ztunnel-1", "istio-system", "node", "Kubernetes"}
		state.Follow(ctx, discovery.NewAggregatedDiscoveryServiceClient(client), node, func() { synced <- struct{}{} }, t.Logf)
	}()
	t.Cleanup(func() {
		stop()
		server.Stop()
		<-done
	})
	return state, fake.streams, synced
}

// subscribed reads both subscriptions.
func (s *session) subscribed(t *testing.T) {
	t.Helper()
	var kinds []string
	for range 2 {
		request, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if request.Node.GetId() != "ztunnel~10.0.0.99~ztunnel-1.istio-system~istio-system.svc.cluster.local" ||
			request.Node.GetMetadata().AsMap()["NODE_NAME"] != "node" || !slices.Equal(request.ResourceNamesSubscribe, []string{"*"}) {
			t.Errorf("subscription %v", request)
		}
		kinds = append(kinds, request.TypeUrl)
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{PolicyType, AddressType}) {
		t.Errorf("subscribed to %v", kinds)
	}
}

// send returns the proxy's complaint about a response, empty when it took it.
func (s *session) send(t *testing.T, response *discovery.DeltaDiscoveryResponse) string {
	t.Helper()
	if err := s.Send(response); err != nil {
		t.Fatal(err)
	}
	answer, err := s.Recv()
	if err != nil || answer.ResponseNonce != response.Nonce || answer.TypeUrl != response.TypeUrl || len(answer.ResourceNamesSubscribe) != 0 {
		t.Fatalf("answer %v %v", answer, err)
	}
	return answer.GetErrorDetail().GetMessage()
}

func quiet(t *testing.T, synced <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-synced:
		t.Fatal("in sync " + why)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestFollow(t *testing.T) {
	state, streams, synced := follow(t)
	workload := func(text string) map[string]proto.Message {
		return map[string]proto.Message{"w": ofWorkload(&workloadapi.Workload{Uid: "w", Namespace: "core", Addresses: [][]byte{ip(text)}})}
	}
	denyAll := map[string]proto.Message{"core/d": &security.Authorization{Namespace: "core", Scope: security.Scope_NAMESPACE, Action: security.Action_DENY, Groups: []*security.Group{when()}}}

	stream := <-streams
	stream.subscribed(t)
	if complaint := stream.send(t, resources(t, AddressType, denyAll)); complaint == "" {
		t.Error("a policy was taken for an address")
	}
	if complaint := stream.send(t, resources(t, PolicyType, nil)); complaint != "" {
		t.Error(complaint)
	}
	quiet(t, synced, "although the addresses were refused")
	if complaint := stream.send(t, resources(t, AddressType, workload("10.0.0.1"))); complaint != "" {
		t.Error(complaint)
	}
	<-synced

	first := netip.MustParseAddr("10.0.0.1")
	check := func() error { return state.Authorize(state.Workload(first), inbound(alice)) }
	open, release := state.Guard(t.Context(), check)
	defer release()
	if open.Err() != nil {
		t.Fatal("an allowed connection was ended")
	}
	stream.send(t, resources(t, PolicyType, denyAll))
	<-open.Done()
	if !errors.Is(context.Cause(open), errRevoked) {
		t.Error(context.Cause(open))
	}
	late, releaseLate := state.Guard(t.Context(), check)
	defer releaseLate()
	if late.Err() == nil {
		t.Error("a connection that was forbidden meanwhile stays")
	}
	quiet(t, synced, "once more without a reason")

	close(stream.over)
	stream = <-streams
	stream.subscribed(t)
	if state.Workload(first) == nil || check() == nil {
		t.Error("the state did not outlive the stream")
	}
	stream.send(t, resources(t, PolicyType, nil))
	quiet(t, synced, "before the addresses came again")
	stream.send(t, resources(t, AddressType, workload("10.0.0.2")))
	<-synced
	if state.Workload(first) != nil || state.Workload(netip.MustParseAddr("10.0.0.2")) == nil {
		t.Error("the first response of a stream did not replace all")
	}
	if state.Authorize(&workloadapi.Workload{Namespace: "core"}, inbound(alice)) != nil {
		t.Error("a policy that is gone still holds")
	}
}
