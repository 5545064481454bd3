// labtailnet is a tailnet in one program: Tailscale's own control server for tests, a DERP relay, a STUN server, and the
// API calls that the Kubernetes operator makes. Its state is in memory: nodes do not come back after a restart.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"bulkhead.mesh/lab-tailnet/internal/api"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/dnstype"
	"tailscale.com/types/key"
)

// control paths; testcontrol panics on every other one.
var control = []string{"/key", "/machine/", "/ts2021", "/c2n/", "/generate_204"}

const (
	repeatInterval = time.Second
	repeatFor      = 20 * time.Second
)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	listen := flag.String("listen", "", "IP address of everything that is served")
	port := flag.Int("port", 80, "port of control server and API")
	derpPort := flag.Int("derp-port", 443, "port of the DERP relay, TLS")
	stunPort := flag.Int("stun-port", 3478, "port of the STUN server")
	domain := flag.String("domain", "", "MagicDNS domain")
	oauth := flag.String("oauth", "", "JSON file with client_id and client_secret of the OAuth client")
	flag.Parse()
	address, err := netip.ParseAddr(*listen)
	if err != nil {
		return fmt.Errorf("-listen is %q: give an IP address", *listen)
	}
	if *domain == "" {
		return errors.New("-domain is missing: give a name such as lab-tailnet.ts.net")
	}
	credentials, err := read(*oauth)
	if err != nil {
		return err
	}
	if err := relay(place(address, *derpPort)); err != nil {
		return err
	}
	errs := make(chan error, 2)
	go func() { errs <- stunserver.New(context.Background()).ListenAndServe(place(address, *stunPort)) }()
	server := controlServer(address, *port, *derpPort, *stunPort, *domain)
	go repeat(server)
	calls := api.Handler(credentials, tailnet{server})
	mux := http.NewServeMux()
	mux.Handle("/", calls)
	for _, path := range control {
		mux.Handle(path, server)
	}
	log.Printf("control server and API on %s, DERP on port %d, STUN on port %d", place(address, *port), *derpPort, *stunPort)
	go func() { errs <- http.ListenAndServe(place(address, *port), mux) }()
	return <-errs
}

func place(address netip.Addr, port int) string {
	return net.JoinHostPort(address.String(), strconv.Itoa(port))
}

func read(file string) (api.Credentials, error) {
	var found api.Credentials
	text, err := os.ReadFile(file)
	if err != nil {
		return found, fmt.Errorf("-oauth: %w", err)
	}
	if err := json.Unmarshal(text, &found); err != nil || found.ID == "" || found.Secret == "" {
		return found, fmt.Errorf("-oauth: %s does not hold client_id and client_secret as JSON", file)
	}
	return found, nil
}

// relay starts DERP; clients want TLS, and HTTP/2 cannot be upgraded to DERP's own protocol.
func relay(where string) error {
	listener, err := net.Listen("tcp", where)
	if err != nil {
		return err
	}
	quiet := func(string, ...any) {}
	server := httptest.NewUnstartedServer(derpserver.Handler(derpserver.New(key.NewNode(), quiet)))
	server.Listener.Close()
	server.Listener = listener
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	server.StartTLS()
	return nil
}

func controlServer(address netip.Addr, port, derpPort, stunPort int, domain string) *testcontrol.Server {
	// RequireAuthKey stays empty: when it is set, known nodes are refused as well, and a restarted proxy hangs.
	return &testcontrol.Server{
		Logf:             func(string, ...any) {},
		ExplicitBaseURL:  "http://" + place(address, port),
		AllNodesSameUser: true,
		AllOnline:        true,
		MagicDNSDomain:   domain,
		DNSConfig: &tailcfg.DNSConfig{
			Proxied: true,
			Domains: []string{domain},
			Routes:  map[string][]*dnstype.Resolver{domain: {}},
		},
		DERPMap: &tailcfg.DERPMap{
			OmitDefaultRegions: true,
			Regions: map[int]*tailcfg.DERPRegion{1: {
				RegionID:   1,
				RegionCode: "lab",
				RegionName: "lab",
				Nodes: []*tailcfg.DERPNode{{
					Name:             "1a",
					RegionID:         1,
					HostName:         address.String(),
					IPv4:             address.String(),
					IPv6:             "none",
					DERPPort:         derpPort,
					STUNPort:         stunPort,
					STUNTestIP:       address.String(),
					InsecureForTests: true,
				}},
			}},
		},
	}
}

// repeat sends every node the network map again for a while after a node has come. The real control server has news more
// often than the test server, and a proxy in Kubernetes that hears nothing after its start looks only every 15 s.
func repeat(control *testcontrol.Server) {
	known, until := 0, time.Time{}
	for now := range time.Tick(repeatInterval) {
		if count := control.NumNodes(); count != known {
			known, until = count, now.Add(repeatFor)
		}
		if now.Before(until) {
			control.AddDNSRecords() // none: only the sending counts
		}
	}
}

// tailnet shows the nodes of the control server to the API.
type tailnet struct{ control *testcontrol.Server }

func (t tailnet) Nodes() []api.Node {
	found := []api.Node{}
	for _, node := range t.control.AllNodes() {
		if node.Expired {
			continue
		}
		one := api.Node{ID: string(node.StableID), Name: strings.TrimSuffix(node.Name, "."), App: node.Hostinfo.App()}
		for _, prefix := range node.Addresses {
			one.Addresses = append(one.Addresses, prefix.Addr().String())
		}
		found = append(found, one)
	}
	return found
}

// Delete expires the node and frees its name: testcontrol numbers nodes by their count and cannot forget one.
func (t tailnet) Delete(id string) bool {
	for _, node := range t.control.AllNodes() {
		if string(node.StableID) != id || node.Expired {
			continue
		}
		node.Expired, node.KeyExpiry = true, time.Now().Add(-time.Hour)
		node.Name = "deleted-" + strings.ToLower(id) + "." + t.control.MagicDNSDomain + "."
		t.control.UpdateNode(node)
		return true
	}
	return false
}
