// Package report says what the proxy did: access log, metrics, and a dump of what it knows.
package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"istio.io/istio/pkg/workloadapi"
)

// Direction of a connection, seen from the pod.
type Direction string

// The two directions.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Party is one end of a connection. Workload and Identity are empty when unknown.
type Party struct {
	Address  netip.AddrPort
	Tunnel   netip.AddrPort // what the tunnel leads to, when Address is its door
	Service  string
	Workload *workloadapi.Workload
	Identity identity.ID
}

// Connection is what is known of one connection at its end.
type Connection struct {
	Direction      Direction
	Start          time.Time
	Source         Party
	Destination    Party
	Sent, Received int64 // bytes to and from the far end: outbound the destination, inbound the source
}

// MutualTLS tells whether the connection went through a tunnel.
func (c *Connection) MutualTLS() bool {
	return c.Source.Identity.Known() && c.Destination.Identity.Known()
}

// line is the access log's line, with the field names of Istio's node proxy.
func (c *Connection) line(end time.Time, failure error) string {
	fields := append(c.Source.fields("src"), c.Destination.fields("dst")...)
	fields = append(fields,
		fmt.Sprintf("direction=%q", c.Direction),
		fmt.Sprintf("bytes_sent=%d", c.Sent),
		fmt.Sprintf("bytes_recv=%d", c.Received),
		fmt.Sprintf("duration=\"%dms\"", end.Sub(c.Start).Milliseconds()))
	if failure != nil {
		fields = append(fields, fmt.Sprintf("error=%q", failure))
	}
	return "connection complete\t" + strings.Join(fields, " ")
}

func (p Party) fields(side string) []string {
	fields := []string{side + ".addr=" + p.Address.String()}
	if p.Tunnel.IsValid() {
		fields = append(fields, side+".hbone_addr="+p.Tunnel.String())
	}
	for _, field := range [][2]string{
		{"service", p.Service},
		{"workload", p.Workload.GetName()},
		{"namespace", p.Workload.GetNamespace()},
		{"identity", p.Identity.String()},
	} {
		if field[1] != "" {
			fields = append(fields, fmt.Sprintf("%s.%s=%q", side, field[0], field[1]))
		}
	}
	return fields
}
