package netpol

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Loader gives a script to the kernel as one transaction.
type Loader interface {
	Load(ctx context.Context, script string) error
}

// NFT loads scripts with the nft program of this network namespace.
type NFT struct {
	// Path of the program; "" looks for nft on PATH.
	Path string
}

// Load runs `nft -f -`. On an error the kernel keeps the rules it had.
func (n NFT) Load(ctx context.Context, script string) error {
	program := n.Path
	if program == "" {
		program = "nft"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, program, "-f", "-")
	command.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Run(); err != nil {
		lines := strings.SplitN(strings.TrimSpace(stderr.String()), "\n", 4)
		return fmt.Errorf("nft refused the rules: %w: %s", err, strings.Join(lines[:min(3, len(lines))], " | "))
	}
	return nil
}
