package report

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Levels of a log line.
const (
	Info  = "info"
	Warn  = "warn"
	Error = "error"
)

// Log writes one line per event: time, level, scope, text, parted by tabs.
type Log struct {
	mutex sync.Mutex
	out   io.Writer
	now   func() time.Time
}

// NewLog makes a log.
func NewLog(out io.Writer) *Log { return &Log{out: out, now: time.Now} }

// Printf writes a line. Lines of several goroutines never mix.
func (l *Log) Printf(level, scope, format string, arguments ...any) {
	stamp := l.now().UTC().Format("2006-01-02T15:04:05.000000Z")
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintf(l.out, "%s\t%s\t%s\t%s\n", stamp, level, scope, fmt.Sprintf(format, arguments...))
}

// Scope is Printf with level and scope given, for parts that know neither.
func (l *Log) Scope(level, scope string) func(format string, arguments ...any) {
	return func(format string, arguments ...any) { l.Printf(level, scope, format, arguments...) }
}
