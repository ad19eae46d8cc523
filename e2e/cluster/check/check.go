package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// leastMemory is what a build and a cluster need at the same time, in MiB.
const leastMemory = 2048

// check returns a line for each problem.
func check(ctx context.Context, places []place) []string {
	var out []string
	for _, err := range append(checkPlaces(ctx, places), checkMemory("/proc/meminfo"), checkPorts(ctx), checkNamespaces(ctx)) {
		if err != nil {
			out = append(out, err.Error())
		}
	}
	return out
}

// checkPlaces finds directories that cannot be used, and file systems that are too full for all of them together.
func checkPlaces(ctx context.Context, places []place) []error {
	var out []error
	need, names, free := map[uint64]uint64{}, map[uint64][]string{}, map[uint64]uint64{}
	for _, p := range places {
		if p.dir == "" {
			continue
		}
		if err := p.check(ctx); err != nil {
			out = append(out, err)
			continue
		}
		var at unix.Stat_t
		var fs unix.Statfs_t
		if err := errors.Join(unix.Stat(p.dir, &at), unix.Statfs(p.dir, &fs)); err != nil {
			out = append(out, fmt.Errorf("looking at %s: %w", p.dir, err))
			continue
		}
		need[at.Dev] += p.need
		names[at.Dev] = append(names[at.Dev], p.name+" "+p.dir)
		free[at.Dev] = fs.Bavail * uint64(fs.Bsize) >> 20
	}
	for dev, mib := range need {
		if free[dev] < mib {
			out = append(out, fmt.Errorf("%d MiB are free and about %d MiB are needed for %s: make room, or put them elsewhere by these variables",
				free[dev], mib, strings.Join(names[dev], ", ")))
		}
	}
	return out
}

// check writes a file into the directory and, if programs have to start there, starts it.
func (p place) check(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return fmt.Errorf("%s cannot be made: %w: make it writable, or name another directory", p.name, err)
	}
	file := filepath.Join(p.dir, fmt.Sprintf(".siskin-check-%d", os.Getpid()))
	defer func() { _ = os.Remove(file) }()
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		return fmt.Errorf("%s is not writable: %w: make it writable, or name another directory", p.name, err)
	}
	if !p.exec {
		return nil
	}
	if err := exec.CommandContext(ctx, file).Run(); err != nil {
		return fmt.Errorf("no program can be started from %s: %w: mount it without noexec, or name another directory", p.name, err)
	}
	return nil
}

// checkMemory reads the kernel's own estimate of what programs can still have.
func checkMemory(meminfo string) error {
	data, err := os.ReadFile(meminfo)
	if err != nil {
		return fmt.Errorf("reading the free memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && kib>>10 < leastMemory {
			return fmt.Errorf("%d MiB of memory are available, %d are needed: end other programs", kib>>10, leastMemory)
		}
	}
	return nil
}

func checkPorts(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("no port of 127.0.0.1 can be opened: %w: bring up the loopback interface (ip link set lo up)", err)
	}
	_ = l.Close()
	return nil
}

// checkNamespaces starts a process as the cluster's first one is started and has it do what that does first.
func checkNamespaces(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "siskin-check-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.CommandContext(ctx, self, inside, dir)
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.Dir = "/"
	cmd.SysProcAttr = sandbox.Namespaces()
	err = cmd.Run()
	if exit, ran := errors.AsType[*exec.ExitError](err); ran {
		return fmt.Errorf("the kernel refuses what the cluster needs in its own namespaces: %s (%w): %s", strings.TrimSpace(out.String()), exit, remedy)
	}
	if err != nil {
		return fmt.Errorf("user, network, mount and PID namespaces cannot be made: %w: %s", err, remedy)
	}
	return nil
}

const remedy = "run as root, or allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 " +
	"user.max_user_namespaces=15000 (those that this kernel has); in a container: --privileged"

// tryInside does what the cluster does before its servers start.
func tryInside(dir string) error {
	if _, err := sandbox.SetupNetwork(wire.PodCIDR, wire.ServiceCIDR, []string{wire.NodeIP}, false); err != nil {
		return fmt.Errorf("the network: %w", err)
	}
	if err := sandbox.SetupRoot(dir); err != nil {
		return fmt.Errorf("the root file system: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("a container's mounts: %w", err)
	}
	if err := unix.Sethostname([]byte("check")); err != nil {
		return fmt.Errorf("a container's host name: %w", err)
	}
	return nil
}
