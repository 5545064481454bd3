package mesh

import (
	"context"
	"fmt"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
)

const reconnectPause = time.Second

// Node is what istiod needs to know of this node proxy.
type Node struct{ Address, Name, Namespace, KubernetesNode, Cluster string }

func (n Node) message() (*core.Node, error) {
	metadata, err := structpb.NewStruct(map[string]any{
		"NAME": n.Name, "NAMESPACE": n.Namespace, "INSTANCE_IPS": n.Address,
		"NODE_NAME": n.KubernetesNode, "CLUSTER_ID": n.Cluster,
	})
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	id := fmt.Sprintf("ztunnel~%s~%s.%s~%s.svc.%s", n.Address, n.Name, n.Namespace, n.Namespace, identity.DefaultTrustDomain)
	return &core.Node{Id: id, Metadata: metadata}, nil
}

// Follow keeps the state up to date until the context ends. inSync is called when
// both kinds of resources have come, and again after each reconnection. While
// istiod is away the last state holds.
func (s *State) Follow(ctx context.Context, client discovery.AggregatedDiscoveryServiceClient, node Node, inSync func(), log func(string, ...any)) {
	for ctx.Err() == nil {
		log("stream from istiod ended: %v", s.session(ctx, client, node, inSync, log))
		select {
		case <-ctx.Done():
		case <-time.After(reconnectPause):
		}
	}
}

func (s *State) session(ctx context.Context, client discovery.AggregatedDiscoveryServiceClient, node Node, inSync func(), log func(string, ...any)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	description, err := node.message()
	if err != nil {
		return err
	}
	missing := map[string]bool{AddressType: true, PolicyType: true}
	for kind := range missing {
		subscription := &discovery.DeltaDiscoveryRequest{Node: description, TypeUrl: kind, ResourceNamesSubscribe: []string{"*"}}
		if err := stream.Send(subscription); err != nil {
			return err
		}
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		answer := &discovery.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce}
		if err := s.Apply(response, missing[response.TypeUrl]); err != nil {
			log("response from istiod refused: %v", err)
			answer.ErrorDetail = &status.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
		} else if s.Recheck(); missing[response.TypeUrl] {
			if delete(missing, response.TypeUrl); len(missing) == 0 {
				inSync()
			}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}
