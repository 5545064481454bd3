package netpol

import (
	"fmt"
	"strings"
	"time"
)

// DefaultLateWindow is the window of mode late when none is given.
const DefaultLateWindow = time.Second

// Denial is what a sender notices of a packet that no rule allows. Real engines
// differ: Calico and Cilium drop, kube-router (which k3s ships) answers with an
// ICMP error.
type Denial string

// The kinds of denial; the zero value is a silent drop.
const (
	DenyDrop            Denial = ""
	DenyPortUnreachable Denial = "port-unreachable"
	DenyAdminProhibited Denial = "admin-prohibited"
	DenyReset           Denial = "tcp-reset"
)

// Mode says when rules apply. Late is the window during which a new pod's own
// rules are missing, as with engines that follow the API; 0 = no window.
type Mode struct {
	Off  bool
	Late time.Duration
	Deny Denial
}

func (m Mode) String() string {
	text := "on"
	switch {
	case m.Off:
		return "off"
	case m.Late > 0:
		text = "late=" + m.Late.String()
	}
	if m.Deny != DenyDrop {
		text += "+reject=" + string(m.Deny)
	}
	return text
}

// ParseMode reads "on", "off", "late" or "late=DURATION"; to all but off
// "+reject" or "+reject=KIND" may be added.
func ParseMode(text string, lateWindow time.Duration) (Mode, error) {
	first, denial, rejects := strings.Cut(text, "+")
	mode, err := parseWhen(first, text, lateWindow)
	if err != nil || !rejects {
		return mode, err
	}
	if mode.Off {
		return Mode{}, fmt.Errorf("mode %q: off denies nothing, so it cannot reject", text)
	}
	mode.Deny, err = parseDenial(denial, text)
	return mode, err
}

func parseDenial(denial, text string) (Denial, error) {
	if denial == "reject" {
		return DenyPortUnreachable, nil
	}
	if kind, ok := strings.CutPrefix(denial, "reject="); ok {
		for _, known := range []Denial{DenyPortUnreachable, DenyAdminProhibited, DenyReset} {
			if kind == string(known) {
				return known, nil
			}
		}
	}
	return DenyDrop, fmt.Errorf("mode %q: %q is unknown, use reject, reject=port-unreachable, reject=admin-prohibited or reject=tcp-reset", text, denial)
}

func parseWhen(when, text string, lateWindow time.Duration) (Mode, error) {
	name, window, given := strings.Cut(when, "=")
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
	case when == "on":
		return Mode{}, nil
	case when == "off":
		return Mode{Off: true}, nil
	}
	return Mode{}, fmt.Errorf("mode %q is unknown: use on, off or late=DURATION, and +reject", text)
}
