package identity

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// maxMessage bounds one message from istiod; a whole mesh comes in one.
const maxMessage = 64 << 20

// token sends the node proxy's own projected token with each call. The kubelet
// renews the file, so it is read each time.
type token struct{ file, cluster string }

func (token) RequireTransportSecurity() bool { return true }

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	content, err := os.ReadFile(t.file)
	if err != nil {
		return nil, fmt.Errorf("token for istiod: %w", err)
	}
	return map[string]string{
		"authorization": "Bearer " + strings.TrimSpace(string(content)),
		"clusterid":     t.cluster,
	}, nil
}

// DialIstiod makes a channel to istiod: its certificate is checked against the
// mesh root, this side shows the token. It connects at first use.
func DialIstiod(address, rootFile, tokenFile, cluster string) (*grpc.ClientConn, error) {
	transport, err := credentials.NewClientTLSFromFile(rootFile, "")
	if err != nil {
		return nil, fmt.Errorf("mesh root %s: %w", rootFile, err)
	}
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(token{tokenFile, cluster}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
}
