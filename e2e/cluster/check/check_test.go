package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is the process that checkNamespaces starts, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == inside {
		if err := tryInside(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestThisMachineWillDo(t *testing.T) {
	good := []place{{"a", t.TempDir(), 1, true}, {"none", "", 1, false}}
	if out := check(t.Context(), good); len(out) > 0 {
		t.Errorf("refused: %q", out)
	}
}

// Each problem is one line with what to do.
func TestProblems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	few := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(few, []byte("MemTotal:  4000000 kB\nMemAvailable:    1024000 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := func(p place) error {
		if errs := checkPlaces(t.Context(), []place{p}); len(errs) == 1 {
			return errs[0]
		}
		return nil
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"not a directory": {one(place{"GOCACHE", file, 1, false}), "GOCACHE cannot be made"},
		"not writable":    {one(place{"SISKIN_CACHE", "/proc/self", 1, false}), "SISKIN_CACHE is not writable"},
		"too full":        {one(place{"GOMODCACHE", t.TempDir(), 1 << 40, false}), "make room"},
		"little memory":   {checkMemory(few), "1000 MiB of memory are available, 2048 are needed: end other programs"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, c.err, c.want)
		}
	}
}
