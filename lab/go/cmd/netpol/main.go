// Command netpol enforces NetworkPolicies on the lab's node, and talks to the
// daemon that does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"bulkhead.mesh/lab/internal/netpol"
	"bulkhead.mesh/lab/internal/netpol/wire"
)

const usage = `usage:
  netpol daemon --kubeconfig FILE --node NAME [--mode MODE] [--late-window 1s]
                [--uplink eth0] [--socket PATH] [--state-file PATH]
  netpol mode MODE [--socket PATH]                 switch; returns when it is in force
  netpol status [--socket PATH]                    JSON
  netpol wait [--settled] [--policy NS/NAME [--resource-version RV]] [--absent-policy NS/NAME]
              [--pod NS/NAME] [--generation N] [--timeout 10s] [--socket PATH]
MODE is on, off or late[=1s]; to on and late +reject[=port-unreachable|admin-prohibited|tcp-reset] may be added
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "netpol:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("a subcommand is missing")
	}
	command, rest := arguments[0], arguments[1:]
	switch command {
	case "daemon":
		return daemon(ctx, rest)
	case "mode":
		return mode(ctx, rest)
	case "status":
		return status(ctx, rest)
	case "wait":
		return wait(ctx, rest)
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("subcommand %q is unknown", command)
}

// newFlags makes a flag set with the socket, which every subcommand has.
func newFlags(command string) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet("netpol "+command, flag.ContinueOnError)
	return flags, flags.String("socket", wire.DefaultSocket, "unix socket of the daemon")
}

// parse refuses arguments that no flag takes.
func parse(flags *flag.FlagSet, arguments []string) error {
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q is one too many", flags.Arg(0))
	}
	return nil
}

func daemon(ctx context.Context, arguments []string) error {
	flags, socket := newFlags("daemon")
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	node := flags.String("node", "", "name of this node's Node object")
	modeText := flags.String("mode", "on", "on, off or late, with +reject; a mode set at run time survives restarts and wins")
	lateWindow := flags.Duration("late-window", netpol.DefaultLateWindow, "window of mode late")
	uplink := flags.String("uplink", "", "interface to the outside, where pod addresses are not believed")
	stateFile := flags.String("state-file", "", "mode and sandboxes (default: netpol-state.json beside the socket)")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if *kubeconfig == "" || *node == "" {
		return errors.New("the daemon needs --kubeconfig FILE and --node NAME")
	}
	if *stateFile == "" {
		*stateFile = filepath.Join(filepath.Dir(*socket), "netpol-state.json")
	}
	first, err := netpol.ParseMode(*modeText, *lateWindow)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", *kubeconfig, err)
	}
	config.UserAgent = "netpol"
	config.QPS, config.Burst = 100, 200 // each new pod costs two reads
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", *kubeconfig, err)
	}
	return netpol.Run(ctx, netpol.Options{
		Client: client, Loader: netpol.NFT{}, Node: *node, Uplink: *uplink,
		Mode: first, StateFile: *stateFile, Socket: *socket,
	})
}

func mode(ctx context.Context, arguments []string) error {
	flags, socket := newFlags("mode")
	if len(arguments) == 0 {
		return errors.New("a mode is missing: on, off or late=DURATION, and +reject")
	}
	if err := parse(flags, arguments[1:]); err != nil {
		return err
	}
	_, err := call(ctx, *socket, wire.Request{Op: wire.OpMode, Mode: arguments[0]})
	return err
}

func status(ctx context.Context, arguments []string) error {
	flags, socket := newFlags("status")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	status, err := call(ctx, *socket, wire.Request{Op: wire.OpStatus})
	if err != nil {
		return err
	}
	return print(status)
}

func wait(ctx context.Context, arguments []string) error {
	flags, socket := newFlags("wait")
	var wait wire.Wait
	flags.BoolVar(&wait.Settled, "settled", false, "all that the API server holds now is enforced")
	flags.StringVar(&wait.Policy, "policy", "", "NetworkPolicy NS/NAME is enforced")
	flags.StringVar(&wait.ResourceVersion, "resource-version", "", "at least this version of --policy")
	flags.StringVar(&wait.AbsentPolicy, "absent-policy", "", "NetworkPolicy NS/NAME is gone")
	flags.StringVar(&wait.Pod, "pod", "", "pod NS/NAME is known with an address")
	flags.Int64Var(&wait.Generation, "generation", 0, "the rules were loaded that often")
	timeout := flags.Duration("timeout", 10*time.Second, "how long to wait")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if wait == (wire.Wait{}) {
		return errors.New("nothing to wait for: give --settled, --policy, --absent-policy, --pod or --generation")
	}
	if *timeout <= 0 {
		return fmt.Errorf("--timeout %s is not positive", *timeout)
	}
	status, err := call(ctx, *socket, wire.Request{Op: wire.OpWait, Wait: &wait, TimeoutSeconds: timeout.Seconds()})
	if err != nil {
		return err
	}
	return print(status)
}

// call gives the daemon a little more time than it gives itself, so that its own message arrives.
func call(ctx context.Context, socket string, request wire.Request) (wire.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, request.Timeout()+2*time.Second)
	defer cancel()
	return wire.Call(ctx, socket, request)
}

func print(status wire.Status) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(status)
}
