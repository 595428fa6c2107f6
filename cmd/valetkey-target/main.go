package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gatewayModule is whose S3 and IAM these are.
const gatewayModule = "github.com/versity/versitygw"

// maxConfig bounds the configuration's one line.
const maxConfig = 1 << 20

func main() {
	version := flag.Bool("version", false, "print whose S3 and IAM it has")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(flag.CommandLine.Output(), "valetkey-target is started by \"valetkeyd dev\": its configuration is one line of JSON on standard input,\n"+
			"and it ends when that is closed. Never for production.")
	}
	flag.Parse()
	if *version {
		fmt.Println(gateway())
		return
	}
	answer := os.Stdout
	os.Stdout = os.Stderr // the gateway prints there what is no answer
	if err := run(os.Stdin, answer); err != nil {
		fmt.Fprintln(os.Stderr, "valetkey-target:", err)
		os.Exit(1)
	}
}

// gateway is versitygw's name and version.
func gateway() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == gatewayModule {
				return "versitygw " + d.Version
			}
		}
	}
	return "versitygw"
}

// run lives until the configuration's reader is at its end, or the process is told to end.
func run(in io.Reader, answer io.Writer) error {
	// A terminal's interrupt goes to the whole group: whoever started this one ends it, after itself.
	signal.Ignore(os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	lines := bufio.NewReaderSize(io.LimitReader(in, maxConfig), 64<<10)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := parseConfig(line)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is what matters
		stop()
	}()
	t, err := open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { _ = t.close() }()
	if err := json.NewEncoder(answer).Encode(t.at); err != nil {
		return fmt.Errorf("saying where it is: %w", err)
	}
	err = t.wait(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
