// Command netpol-cni is a chained CNI plugin: a pod's network is ready only
// when the NetworkPolicy enforcer has loaded the rules of the new pod.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

const (
	addTimeout = 15 * time.Second
	// A DEL that finds no daemon succeeds: the address is overruled by its next ADD.
	delTimeout = 3 * time.Second
)

// config is the plugin's part of the network configuration list.
type config struct {
	types.NetConf
	// Socket of the daemon; default /run/netpol.sock.
	Socket string `json:"socket"`
}

// podArgs are the CNI_ARGS of Kubernetes.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID types.UnmarshallableString
}

func main() {
	skel.PluginMainFuncs(
		skel.CNIFuncs{Add: add, Del: del, Check: check},
		version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0"),
		"netpol-cni: starts pods only behind their NetworkPolicies",
	)
}

func parse(stdin []byte) (config, *current.Result, error) {
	parsed := config{Socket: wire.DefaultSocket}
	if err := json.Unmarshal(stdin, &parsed); err != nil {
		return config{}, nil, fmt.Errorf("netpol-cni: the network configuration is no JSON: %w", err)
	}
	if parsed.RawPrevResult == nil {
		return parsed, nil, nil
	}
	if err := version.ParsePrevResult(&parsed.NetConf); err != nil {
		return config{}, nil, fmt.Errorf("netpol-cni: prevResult cannot be read: %w", err)
	}
	result, err := current.NewResultFromResult(parsed.PrevResult)
	if err != nil {
		return config{}, nil, fmt.Errorf("netpol-cni: prevResult cannot be converted: %w", err)
	}
	return parsed, result, nil
}

// sandboxOf takes the pod from the arguments and its addresses from the result.
func sandboxOf(arguments *skel.CmdArgs, result *current.Result) (*wire.Sandbox, error) {
	pod := podArgs{}
	pod.IgnoreUnknown = true
	if err := types.LoadArgs(arguments.Args, &pod); err != nil {
		return nil, fmt.Errorf("netpol-cni: CNI_ARGS cannot be read: %w", err)
	}
	sandbox := &wire.Sandbox{
		ContainerID: arguments.ContainerID,
		Namespace:   string(pod.K8S_POD_NAMESPACE),
		Name:        string(pod.K8S_POD_NAME),
		UID:         string(pod.K8S_POD_UID),
	}
	for _, address := range result.IPs {
		sandbox.Addresses = append(sandbox.Addresses, address.Address.IP.String())
	}
	// The node's end of the link is the one interface that lies in no sandbox;
	// with a bridge there are two, and then none of them stands for the pod.
	var outside []string
	for _, device := range result.Interfaces {
		if device.Sandbox == "" {
			outside = append(outside, device.Name)
		}
	}
	if len(outside) == 1 {
		sandbox.HostInterface = outside[0]
	}
	return sandbox, nil
}

func call(socket, operation string, sandbox *wire.Sandbox, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout+time.Second)
	defer cancel()
	request := wire.Request{Op: operation, Sandbox: sandbox, TimeoutSeconds: timeout.Seconds()}
	_, err := wire.Call(ctx, socket, request)
	return err
}

func add(arguments *skel.CmdArgs) error {
	parsed, result, err := parse(arguments.StdinData)
	if err != nil {
		return err
	}
	if result == nil {
		return errors.New("netpol-cni: prevResult is missing; put this plugin after the one that gives addresses")
	}
	sandbox, err := sandboxOf(arguments, result)
	if err != nil {
		return err
	}
	if err := call(parsed.Socket, wire.OpAdd, sandbox, addTimeout); err != nil {
		return fmt.Errorf("netpol-cni: %w", err)
	}
	return types.PrintResult(parsed.PrevResult, parsed.CNIVersion)
}

func del(arguments *skel.CmdArgs) error {
	parsed, _, err := parse(arguments.StdinData)
	if err != nil {
		return err
	}
	_ = call(parsed.Socket, wire.OpDel, &wire.Sandbox{ContainerID: arguments.ContainerID}, delTimeout)
	return nil
}

func check(arguments *skel.CmdArgs) error {
	parsed, _, err := parse(arguments.StdinData)
	if err != nil {
		return err
	}
	return call(parsed.Socket, wire.OpCheck, &wire.Sandbox{ContainerID: arguments.ContainerID}, delTimeout)
}
