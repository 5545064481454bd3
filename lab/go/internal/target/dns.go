package target

import (
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Answers must not outlive the moment: the query log is the evidence.
const ttl = 0

// zone knows the answers below one name.
type zone struct {
	apex   string // canonical: lower case, with the final dot
	v4, v6 []net.IP
}

func newZone(apex string, addresses []netip.Addr) zone {
	z := zone{apex: dns.CanonicalName(apex)}
	for _, address := range addresses {
		if address.Is4() {
			z.v4 = append(z.v4, address.AsSlice())
		} else {
			z.v6 = append(z.v6, address.AsSlice())
		}
	}
	return z
}

func (z zone) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func (z zone) soa() *dns.SOA {
	return &dns.SOA{
		Hdr: z.header(z.apex, dns.TypeSOA), Ns: "ns." + z.apex, Mbox: "hostmaster." + z.apex,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

// answer is the reply to one question from caller.
func (z zone) answer(request *dns.Msg, caller netip.Addr) *dns.Msg {
	reply := new(dns.Msg).SetReply(request)
	question := request.Question[0]
	name := dns.CanonicalName(question.Name)
	if question.Qclass != dns.ClassINET || !dns.IsSubDomain(z.apex, name) {
		reply.Rcode = dns.RcodeRefused
		return reply
	}
	reply.Authoritative = true
	if absent := "nx." + z.apex; name != absent && dns.IsSubDomain(absent, name) {
		reply.Rcode = dns.RcodeNameError
	} else {
		reply.Answer = z.records(question, name, caller)
	}
	if len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{z.soa()}
	}
	return reply
}

func (z zone) records(question dns.Question, name string, caller netip.Addr) []dns.RR {
	var found []dns.RR
	header := z.header(question.Name, question.Qtype)
	switch question.Qtype {
	case dns.TypeA:
		for _, address := range z.v4 {
			found = append(found, &dns.A{Hdr: header, A: address})
		}
	case dns.TypeAAAA:
		for _, address := range z.v6 {
			found = append(found, &dns.AAAA{Hdr: header, AAAA: address})
		}
	case dns.TypeTXT:
		found = append(found, &dns.TXT{Hdr: header, Txt: []string{caller.String()}})
	case dns.TypeSOA:
		if name == z.apex {
			found = append(found, z.soa())
		}
	case dns.TypeNS:
		if name == z.apex {
			found = append(found, &dns.NS{Hdr: header, Ns: "ns." + z.apex})
		}
	}
	return found
}

// serveDNS runs server, whose socket is open, with the zone's answers.
func (s *Server) serveDNS(server *dns.Server) error {
	service, size := "dns-tcp", dns.MaxMsgSize
	if server.PacketConn != nil {
		service, size = "dns-udp", dns.MinMsgSize
	}
	server.Handler = dns.HandlerFunc(func(writer dns.ResponseWriter, request *dns.Msg) {
		caller := addrPort(writer.RemoteAddr().String())
		question := request.Question[0] // the library answers anything but one question with FORMERR
		s.log.add(service, caller, strings.ToLower(question.Name)+" "+dns.Type(question.Qtype).String())
		reply := s.zone.answer(request, caller.Addr())
		limit := size
		if option := request.IsEdns0(); option != nil {
			limit = max(limit, int(option.UDPSize()))
			reply.SetEdns0(dns.DefaultMsgSize, option.Do())
		}
		reply.Truncate(limit)
		_ = writer.WriteMsg(reply)
	})
	return server.ActivateAndServe()
}
