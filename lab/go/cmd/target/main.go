// Command target is the lab's host on the internet: nonce echo, HTTP, STUN and
// an authoritative DNS zone, which all tell a caller the address it is seen under.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"bulkhead.mesh/lab/internal/target"
)

// portFlag defines a flag for a port number.
func portFlag(value *uint16, name string, standard uint16, usage string) {
	*value = standard
	flag.Func(name, fmt.Sprintf("port of %s (default %d)", usage, standard), func(text string) error {
		port, err := netip.ParseAddrPort("0.0.0.0:" + text)
		*value = port.Port()
		return err
	})
}

func run() error {
	var config target.Config
	flag.Func("listen", "IPv4 or IPv6 address to serve on; repeat it for more", func(text string) error {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return errors.New("not an IP address")
		}
		config.Addresses = append(config.Addresses, address)
		return nil
	})
	flag.StringVar(&config.Zone, "zone", "probe.example", "DNS zone to be authoritative for")
	path := flag.String("log", "", "file that gets one JSON line per request (required)")
	portFlag(&config.HTTPPort, "http-port", 80, "HTTP")
	portFlag(&config.EchoPort, "echo-port", 7777, "the nonce echo, TCP and UDP")
	portFlag(&config.STUNPort, "stun-port", 3478, "STUN")
	portFlag(&config.DNSPort, "dns-port", 53, "DNS, TCP and UDP")
	flag.Parse()
	if *path == "" || flag.NArg() != 0 {
		return errors.New("usage: target -listen ADDRESS [-listen ADDRESS ...] -log FILE [-zone NAME] [-SERVICE-port N]")
	}
	log, err := os.OpenFile(*path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	config.Log = log
	server, err := target.Listen(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	fmt.Println("ready")
	return server.Serve(ctx)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "target:", err)
		os.Exit(1)
	}
}
