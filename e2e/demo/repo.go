package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// repo is a clone that the demo commits to.
type repo struct{ dir, url string }

func clone(ctx context.Context, dir, url string) (*repo, error) {
	r := &repo{dir: dir, url: url}
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o750); err != nil {
		return nil, fmt.Errorf("making the clone: %w", err)
	}
	if _, err := r.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return nil, err
	}
	_, err := r.git(ctx, "remote", "add", "origin", url)
	return r, err
}

// write writes a file below deploy/.
func (r *repo) write(name, content string) error {
	if err := os.WriteFile(filepath.Join(r.dir, "deploy", name), []byte(content), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// push commits everything, pushes it and returns the commit's hash.
func (r *repo) push(ctx context.Context, subject string) (string, error) {
	for _, args := range [][]string{
		{"add", "--all"}, {"commit", "--quiet", "--message", subject}, {"push", "--quiet", "origin", "HEAD:refs/heads/main"},
	} {
		if _, err := r.git(ctx, args...); err != nil {
			return "", err
		}
	}
	return r.git(ctx, "rev-parse", "HEAD")
}

func (r *repo) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.dir
	// Nothing of the person's own settings: no signing, no hooks, no proxy.
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "no_proxy=*", "NO_PROXY=*",
		"GIT_AUTHOR_NAME="+author, "GIT_AUTHOR_EMAIL="+email, "GIT_COMMITTER_NAME="+author, "GIT_COMMITTER_EMAIL="+email)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
