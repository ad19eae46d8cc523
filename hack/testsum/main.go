// Command testsum runs `go test -json` and tells how many tests ran.
//
//	testsum run -name unit -dir out -- go test -json ./...   runs one suite: progress, failures in full, counts in out/unit.json
//	testsum total -dir out                                   prints all suites and, as the last line, "N passed, N failed"
//
// A test with subtests counts by its subtests, so that nothing counts twice.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: testsum run|total [flags] [-- command]")
	}
	flags := flag.NewFlagSet("testsum "+args[0], flag.ContinueOnError)
	name := flags.String("name", "tests", "name of the suite")
	dir := flags.String("dir", "bin/tests", "where the counts are kept")
	logs := flags.Bool("logs", false, "show what passing tests log")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("reading the flags: %w", err)
	}
	switch args[0] {
	case "run":
		r := newReport(out)
		r.logs = *logs
		return suite(ctx, *name, *dir, flags.Args(), r)
	case "total":
		return total(*dir, out)
	}
	return fmt.Errorf("unknown verb %q: use run or total", args[0])
}

// suite runs one command that writes go test's events.
func suite(ctx context.Context, name, dir string, command []string, r *report) error {
	if len(command) == 0 {
		return errors.New("give the command after --")
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = r.out
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", command[0], err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command[0], err)
	}
	r.read(events)
	err = cmd.Wait()
	c := r.finish(name, time.Since(began), err != nil)
	if err := save(dir, c); err != nil {
		return err
	}
	r.say("%s: %s\n", name, strings.Join(append([]string{c.String()}, r.figures...), "; "))
	if err != nil {
		return fmt.Errorf("%s failed: %w", name, err)
	}
	return nil
}

func save(dir string, c counts) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the counts: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, c.Name+".json"), data, 0o600); err != nil {
		return fmt.Errorf("writing the counts: %w", err)
	}
	return nil
}

// total adds up the suites of dir.
func total(dir string, out io.Writer) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	var sum counts
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("reading the counts: %w", err)
		}
		var c counts
		if err := json.Unmarshal(data, &c); err != nil {
			return fmt.Errorf("reading %s: %w", f, err)
		}
		_, _ = fmt.Fprintf(out, "%-8s %s\n", c.Name, c)
		sum.Passed, sum.Failed = sum.Passed+c.Passed, sum.Failed+c.Failed
		sum.Skipped = append(sum.Skipped, c.Skipped...)
		sum.Failures = append(sum.Failures, c.Failures...)
	}
	if len(files) == 0 {
		return fmt.Errorf("no suite has run: %s is empty", dir)
	}
	for _, s := range sum.Skipped {
		_, _ = fmt.Fprintln(out, "skipped:", s)
	}
	slices.Sort(sum.Failures)
	for _, f := range sum.Failures {
		_, _ = fmt.Fprintln(out, "FAILED:", f)
	}
	_, _ = fmt.Fprintf(out, "%d passed, %d failed\n", sum.Passed, sum.Failed)
	if sum.Failed > 0 {
		return errors.New("some tests failed")
	}
	return nil
}

// counts of one suite.
type counts struct {
	Name     string   `json:"name"`
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Skipped  []string `json:"skipped,omitempty"`
	Failures []string `json:"failures,omitempty"`
	Seconds  int      `json:"seconds"`
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped in %s", c.Passed, c.Failed, len(c.Skipped), time.Duration(c.Seconds)*time.Second)
}

// short is a package's path without the module's.
func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/siskin-dev/siskin/")
}
