package target

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func ask(t *testing.T, network string, address netip.AddrPort, name string, kind uint16) *dns.Msg {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, kind), address.String())
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.TypeToString[kind], err)
	}
	return reply
}

func TestDNS(t *testing.T) {
	cases := []struct {
		name   string
		kind   uint16
		rcode  int
		answer string // of the only answer; "" = none; CALLER = the caller's address
	}{
		{"n-5.probe.example.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"a.b.Probe.Example.", dns.TypeAAAA, dns.RcodeSuccess, "::1"},
		{"who.probe.example.", dns.TypeTXT, dns.RcodeSuccess, "CALLER"},
		{"probe.example.", dns.TypeTXT, dns.RcodeSuccess, "CALLER"},
		{"probe.example.", dns.TypeNS, dns.RcodeSuccess, "ns.probe.example."},
		{"probe.example.", dns.TypeSOA, dns.RcodeSuccess, "ns.probe.example. hostmaster.probe.example. 1 3600 600 86400 0"},
		{"n-6.probe.example.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"n-7.probe.example.", dns.TypeSOA, dns.RcodeSuccess, ""},
		{"n-8.nx.probe.example.", dns.TypeA, dns.RcodeNameError, ""},
		{"n-8.anx.probe.example.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"notprobe.example.", dns.TypeA, dns.RcodeRefused, ""},
		{"example.", dns.TypeA, dns.RcodeRefused, ""},
		{".", dns.TypeNS, dns.RcodeRefused, ""},
	}
	for _, network := range []string{"udp", "tcp"} {
		each(t, "dns-"+network, func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
			for _, one := range cases {
				reply := ask(t, network, address, one.name, one.kind)
				want := strings.ReplaceAll(one.answer, "CALLER", `"`+address.Addr().String()+`"`)
				got := ""
				if len(reply.Answer) > 0 {
					got = strings.TrimPrefix(reply.Answer[0].String(), reply.Answer[0].Header().String())
				}
				if reply.Rcode != one.rcode || got != want || len(reply.Answer) > 1 {
					t.Errorf("%s %s: %v", one.name, dns.TypeToString[one.kind], reply)
				}
				if reply.Authoritative != (one.rcode != dns.RcodeRefused) {
					t.Errorf("%s: authoritative %v", one.name, reply.Authoritative)
				}
				if noData := one.rcode != dns.RcodeRefused && one.answer == ""; noData != (len(reply.Ns) == 1) {
					t.Errorf("%s: authority section %v", one.name, reply.Ns)
				}
			}
			var seen bool
			for _, one := range log.entries(t) {
				seen = seen || one.Service == "dns-"+network && one.Detail == "a.b.probe.example. AAAA" && one.Address == address.Addr().String()
			}
			if !seen {
				t.Errorf("the query log lacks the AAAA question: %+v", log.entries(t))
			}
		})
	}
}

func TestDNSOtherClassIsRefused(t *testing.T) {
	each(t, "dns-udp", func(t *testing.T, address netip.AddrPort, _ *syncBuffer) {
		question := new(dns.Msg).SetQuestion("a.probe.example.", dns.TypeTXT)
		question.Question[0].Qclass = dns.ClassCHAOS
		question.SetEdns0(1232, false)
		reply, err := dns.Exchange(question, address.String())
		if err != nil || reply.Rcode != dns.RcodeRefused || reply.IsEdns0() == nil {
			t.Errorf("%v %v", reply, err)
		}
	})
}
