package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// previous is the release that people upgrade from.
type previous struct {
	// commit, whole.
	commit string
	// dir holds its source.
	dir string
	// binary is its controller.
	binary string
}

// buildPrevious builds the controller of the commit that the file "previous" names, once per commit, into the cache.
func buildPrevious(t *testing.T, root string) previous {
	t.Helper()
	data, err := os.ReadFile("previous")
	if err != nil {
		t.Fatal(err)
	}
	p := previous{commit: strings.TrimSpace(string(data))}
	if _, err := git(t.Context(), root, "cat-file", "-e", p.commit+"^{commit}"); err != nil {
		shallow, shallowErr := git(t.Context(), root, "rev-parse", "--is-shallow-repository")
		if shallowErr != nil || strings.TrimSpace(string(shallow)) == "true" {
			t.Skipf("SKIPPED, NOTHING WAS TESTED: commit %s is not here, because this is no full clone (shallow: %s%v): git fetch --unshallow",
				p.commit, bytes.TrimSpace(shallow), errors.Join(shallowErr))
		}
		t.Fatalf("commit %s of e2e/upgrade/previous is not in this repository: %v", p.commit, err)
	}
	cache := os.Getenv("SISKIN_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "siskin")
	}
	p.dir = filepath.Join(cache, "previous", p.commit)
	p.binary = filepath.Join(p.dir, "siskin")
	if _, err := os.Stat(p.binary); err == nil {
		return p
	}
	t.Logf("building the controller of %s (about 10 s, then cached)", p.commit)
	if err := p.build(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	return p
}

// build unpacks the commit and builds it. The binary comes last and at once: a build that was cut off is begun anew.
func (p previous) build(ctx context.Context, root string) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", p.dir, err)
	}
	archive, err := git(ctx, root, "archive", p.commit)
	if err != nil {
		return err
	}
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", p.dir)
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("unpacking: %w: %s", err, out)
	}
	compile := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", p.binary+".new", "./cmd/siskin")
	compile.Dir = p.dir
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", p.commit, err, out)
	}
	if err := os.Rename(p.binary+".new", p.binary); err != nil {
		return fmt.Errorf("keeping the binary: %w", err)
	}
	return nil
}

func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("git %s: %w: %s", args[0], err, errs.String())
	}
	return out, nil
}
