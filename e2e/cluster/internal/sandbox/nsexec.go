package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mount is a file or directory that a container sees at To.
type Mount struct {
	From     string `json:"from"`
	To       string `json:"to"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Spec says how a program of a container is started.
type Spec struct {
	// Join is the pid of a running container whose namespaces are joined (a probe or a hook), or 0.
	Join int `json:"join,omitempty"`
	// NetNS says that file descriptor 3 is the network namespace to enter.
	NetNS    bool     `json:"netNS,omitempty"`
	Hostname string   `json:"hostname,omitempty"`
	Mounts   []Mount  `json:"mounts,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
}

// Command returns the command that runs spec through self, the path of a binary that calls NSExec for its
// subcommand nsexec.
func Command(ctx context.Context, self string, spec Spec, ns *os.File) (*exec.Cmd, error) {
	spec.NetNS = ns != nil
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding the spec: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "nsexec")
	cmd.Stdin = bytes.NewReader(data)
	cmd.Env = spec.Env
	if ns != nil {
		cmd.ExtraFiles = []*os.File{ns}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// NSExec reads a Spec from standard input, enters its namespaces and becomes its program. It returns only
// with an error.
func NSExec() error {
	// The namespaces belong to this thread, and exec makes this thread the process.
	runtime.LockOSThread()
	var spec Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("reading the spec: %w", err)
	}
	if len(spec.Argv) == 0 {
		return errors.New("no command")
	}
	if spec.Join > 0 {
		if err := join(spec.Join); err != nil {
			return err
		}
	} else if err := enter(spec); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/null: %w", err)
	}
	if err := unix.Dup3(null, 0, 0); err != nil {
		return fmt.Errorf("replacing standard input: %w", err)
	}
	_ = unix.Close(null)
	if spec.Dir != "" {
		if err := os.Chdir(spec.Dir); err != nil {
			return fmt.Errorf("entering %s: %w", spec.Dir, err)
		}
	}
	path, err := lookPath(spec.Argv[0], spec.Env)
	if err != nil {
		return err
	}
	if err := unix.Exec(path, spec.Argv, spec.Env); err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	return nil
}

func join(pid int) error {
	// A thread may change its mount namespace only when it shares its root and working directory with none.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unsharing the file system: %w", err)
	}
	for _, ns := range []string{"net", "uts", "mnt"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil {
			return fmt.Errorf("opening the namespace: %w", err)
		}
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("entering the %s namespace: %w", ns, err)
		}
		_ = f.Close()
	}
	return nil
}

func enter(spec Spec) error {
	if spec.NetNS {
		if err := unix.Setns(3, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace: %w", err)
		}
		_ = unix.Close(3)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unsharing the mounts: %w", err)
	}
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("setting the host name: %w", err)
		}
	}
	// All volumes are opened before the first is mounted: a mount at /tmp would hide those below it.
	volumes := make([]*os.File, 0, len(spec.Mounts))
	for _, m := range spec.Mounts {
		fd, err := unix.Open(m.From, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening the volume %s: %w", m.From, err)
		}
		volumes = append(volumes, os.NewFile(uintptr(fd), m.From))
	}
	for i, m := range spec.Mounts {
		if err := bind(m, volumes[i]); err != nil {
			return err
		}
		_ = volumes[i].Close()
	}
	return nil
}

func bind(m Mount, volume *os.File) error {
	info, err := volume.Stat()
	if err != nil {
		return fmt.Errorf("looking at the volume: %w", err)
	}
	// Mount points below /var/run are below /run: the kernel follows links, and so must the search for the
	// nearest directory.
	to, err := resolve(m.To)
	if err != nil {
		return err
	}
	if err := mountPoint(to, !info.IsDir()); err != nil {
		return fmt.Errorf("making the mount point %s: %w", m.To, err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", volume.Fd()), to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", m.To, err)
	}
	if m.ReadOnly {
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
		if err := unix.Mount("", to, "", flags, ""); err != nil {
			return fmt.Errorf("making %s read-only: %w", m.To, err)
		}
	}
	return nil
}

// resolve follows the links in the part of path that exists.
func resolve(path string) (string, error) {
	path = filepath.Clean(path)
	for dir, rest := path, ""; ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		found, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(found, rest), nil
		}
		if dir == "/" {
			return "", fmt.Errorf("resolving %s: %w", path, err)
		}
	}
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, dir := range filepath.SplitList(value) {
				p := filepath.Join(dir, name)
				if info, err := os.Stat(p); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
					return p, nil
				}
			}
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}
