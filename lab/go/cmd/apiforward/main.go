// Command apiforward hands TCP connections on into another network namespace:
// the machine's loopback reaches the API server of the lab's node by it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

func run() error {
	listen := flag.String("listen", "", "address and port to listen on, in the namespace this is started in")
	namespace := flag.String("netns", "", "file of the network namespace to connect in; looked up for each connection")
	to := flag.String("to", "", "address and port to connect to in that namespace")
	flag.Parse()
	target, err := netip.ParseAddrPort(*to)
	if err != nil || *listen == "" || *namespace == "" || flag.NArg() != 0 {
		return errors.New("usage: apiforward -listen ADDRESS:PORT -netns FILE -to ADDRESS:PORT")
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "apiforward:", err)
			time.Sleep(100 * time.Millisecond) // out of file descriptors: some will come free
			continue
		}
		go forward(client.(*net.TCPConn), *namespace, target)
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "apiforward:", err)
		os.Exit(1)
	}
}
