package target

import (
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// entry is one line of the request log.
type entry struct {
	Time    string `json:"time"`    // RFC 3339 with milliseconds, UTC
	Service string `json:"service"` // echo-udp, echo-tcp, http, stun, dns-udp or dns-tcp
	Address string `json:"address"` // who asked, as seen here
	Port    uint16 `json:"port"`
	Detail  string `json:"detail"` // nonce, path, transaction id in hex, or "NAME TYPE"
}

// requestLog writes one JSON line per request, each by a single write, so that
// a reader never meets lines of two requests mixed.
type requestLog struct {
	mutex sync.Mutex
	out   io.Writer
	now   func() time.Time
}

func newRequestLog(out io.Writer) *requestLog {
	return &requestLog{out: out, now: time.Now}
}

// add logs a request. A log that cannot be written is worth nothing as
// evidence, so a failing write panics and ends the program.
func (l *requestLog) add(service string, caller netip.AddrPort, detail string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	line, err := json.Marshal(entry{
		Time:    l.now().UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Service: service,
		Address: caller.Addr().String(),
		Port:    caller.Port(),
		Detail:  strings.ToValidUTF8(detail, "\uFFFD"),
	})
	if err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	if err != nil {
		panic("target: the request log cannot be written: " + err.Error())
	}
}
