package netpol

import (
	"fmt"
	"strings"
	"time"
)

// DefaultLateWindow is the window of mode late when none is given.
const DefaultLateWindow = time.Second

// Mode says when rules apply. Late is the window during which a new pod's own
// rules are missing, as with engines that follow the API; 0 = no window.
type Mode struct {
	Off  bool
	Late time.Duration
}

func (m Mode) String() string {
	switch {
	case m.Off:
		return "off"
	case m.Late > 0:
		return "late=" + m.Late.String()
	}
	return "on"
}

// ParseMode reads "on", "off", "late" or "late=DURATION".
func ParseMode(text string, lateWindow time.Duration) (Mode, error) {
	name, window, given := strings.Cut(text, "=")
	switch {
	case name == "late":
		if given {
			parsed, err := time.ParseDuration(window)
			if err != nil || parsed <= 0 {
				return Mode{}, fmt.Errorf("mode %q: %q is no positive duration, write it like late=2s", text, window)
			}
			lateWindow = parsed
		}
		if lateWindow <= 0 {
			return Mode{}, fmt.Errorf("mode %q: the late window %s is not positive", text, lateWindow)
		}
		return Mode{Late: lateWindow}, nil
	case text == "on":
		return Mode{}, nil
	case text == "off":
		return Mode{Off: true}, nil
	}
	return Mode{}, fmt.Errorf("mode %q is unknown: use on, off or late=DURATION", text)
}
