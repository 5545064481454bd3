// Package wire is the protocol of the enforcer's unix socket: one JSON request
// and one JSON response per connection. It is a package of its own so that the
// CNI plugin stays small.
package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Operations of a Request.
const (
	OpAdd    = "add"    // a pod's network was made: enforce, then answer
	OpDel    = "del"    // a sandbox ended: forget its addresses
	OpCheck  = "check"  // is the sandbox known?
	OpMode   = "mode"   // switch the mode, answer when it is in force
	OpStatus = "status" // report
	OpWait   = "wait"   // answer when what is asked for is enforced
)

// DefaultSocket is where the daemon listens unless told otherwise.
const DefaultSocket = "/run/netpol.sock"

// Request is what a client asks; only the part of its operation is set.
type Request struct {
	Op      string   `json:"op"`
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	Wait    *Wait    `json:"wait,omitempty"`
	// TimeoutSeconds bounds the daemon's work; 0 = 10 seconds.
	TimeoutSeconds float64 `json:"timeoutSeconds,omitempty"`
}

// Sandbox is one network attachment of a pod, as the CNI plugin sees it.
type Sandbox struct {
	ContainerID string `json:"containerID"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	// UID is empty where the runtime does not pass it.
	UID           string   `json:"uid,omitempty"`
	Addresses     []string `json:"addresses,omitempty"`
	HostInterface string   `json:"hostInterface,omitempty"`
}

// Wait lists conditions; all that are set must hold.
type Wait struct {
	// Settled: everything the API server holds at the time of the call is enforced.
	Settled bool `json:"settled,omitempty"`
	// Policy "namespace/name" is enforced, at ResourceVersion or later if that is set.
	Policy          string `json:"policy,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// AbsentPolicy "namespace/name" is no longer enforced.
	AbsentPolicy string `json:"absentPolicy,omitempty"`
	// Pod "namespace/name" is known with at least one address.
	Pod string `json:"pod,omitempty"`
	// Generation of the loaded rules is at least this.
	Generation int64 `json:"generation,omitempty"`
}

// Response carries an error or, for every operation, the status after it.
type Response struct {
	Error  string  `json:"error,omitempty"`
	Status *Status `json:"status,omitempty"`
}

// Status describes the daemon. Times are RFC 3339, empty if not yet.
type Status struct {
	Mode   string `json:"mode"`
	Synced bool   `json:"synced"`
	// Generation counts the changes of the kernel's rules since the daemon started.
	Generation int64  `json:"generation"`
	LoadedAt   string `json:"loadedAt"`
	// Pending: a change has been seen that the kernel does not have yet.
	Pending   bool     `json:"pending"`
	LastError string   `json:"lastError"`
	Warnings  []string `json:"warnings"`
	Policies  int      `json:"policies"`
	Pods      int      `json:"pods"`
	Isolated  int      `json:"isolated"`
	// Open lists pods whose rules are not applied yet (mode late).
	Open []string `json:"open"`
}

// Call sends one request and waits for its response.
func Call(ctx context.Context, socket string, request Request) (Status, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return Status{}, fmt.Errorf("the NetworkPolicy enforcer does not answer on %s: is `netpol daemon` running? %w", socket, err)
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetDeadline(deadline)
	}
	if err := json.NewEncoder(connection).Encode(request); err != nil {
		return Status{}, fmt.Errorf("cannot send %q to %s: %w", request.Op, socket, err)
	}
	var response Response
	if err := json.NewDecoder(connection).Decode(&response); err != nil {
		return Status{}, fmt.Errorf("no answer to %q from %s: %w", request.Op, socket, err)
	}
	status := Status{}
	if response.Status != nil {
		status = *response.Status
	}
	if response.Error != "" {
		return status, fmt.Errorf("%s", response.Error)
	}
	return status, nil
}

// Timeout is the bound of a request's work.
func (r Request) Timeout() time.Duration {
	if r.TimeoutSeconds <= 0 {
		return 10 * time.Second
	}
	return time.Duration(r.TimeoutSeconds * float64(time.Second))
}
