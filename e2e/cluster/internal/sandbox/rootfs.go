package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// shadowed are the directories that are a tmpfs with the host's entries mounted in, so that pods can have
// files in them (/etc/resolv.conf, /etc/config, /var/run/secrets) without touching the host.
func shadowed() []string { return []string{"/", "/etc", "/var", "/run"} }

// SetupRoot gives the calling process (which must be alone in a fresh mount namespace) a root file system on a
// tmpfs, in which every top directory of the host is mounted. Overlayfs would be simpler but needs a kernel
// that has it.
func SetupRoot(scratch string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	root := filepath.Join(scratch, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making the root directory: %w", err)
	}
	if err := mountTmpfs(root); err != nil {
		return err
	}
	if err := mirror("/", root, func(name string) bool {
		return slices.Contains([]string{"proc", "etc", "var", "run"}, name)
	}); err != nil {
		return err
	}
	for _, d := range []string{"etc", "var", "run"} {
		to := filepath.Join(root, d)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("making /%s: %w", d, err)
		}
		if err := mountTmpfs(to); err != nil {
			return err
		}
		if err := mirror("/"+d, to, nil); err != nil {
			return err
		}
	}
	if err := mountProc(root); err != nil {
		return err
	}
	// Mounting the directory that holds root has mounted root inside itself: undo that.
	_ = unix.Unmount(filepath.Join(root, root), unix.MNT_DETACH)
	return pivot(root)
}

func mountProc(root string) error {
	proc := filepath.Join(root, "proc")
	if err := os.MkdirAll(proc, 0o555); err != nil {
		return fmt.Errorf("making /proc: %w", err)
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	// The old root is stacked on the new one and then taken off, see pivot_root(2).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivoting the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detaching the old root: %w", err)
	}
	return os.Chdir("/")
}

// MountTmpfs mounts a fresh tmpfs on dir, which it makes.
func MountTmpfs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	return mountTmpfs(dir)
}

// BindDir makes the directory from visible at to, which it makes.
func BindDir(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", to, err)
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("showing %s at %s: %w", from, to, err)
	}
	return nil
}

func mountTmpfs(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting a tmpfs on %s: %w", dir, err)
	}
	return nil
}

// mirror makes every entry of from visible in to: directories and special files are mounted, small files and
// links are copied. What cannot be read is left out: nobody in here could have read it anyway.
func mirror(from, to string, skip func(name string) bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	for _, e := range entries {
		if skip != nil && skip(e.Name()) {
			continue
		}
		mirrorEntry(e, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
	}
	return nil
}

func mirrorEntry(e fs.DirEntry, src, dst string) {
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		if target, err := os.Readlink(src); err == nil {
			_ = os.Symlink(target, dst)
		}
	case e.IsDir():
		if os.Mkdir(dst, 0o755) == nil && unix.Mount(src, dst, "", unix.MS_BIND|unix.MS_REC, "") != nil {
			_ = os.Remove(dst)
		}
	case e.Type().IsRegular():
		info, err := e.Info()
		if err != nil {
			return
		}
		if info.Size() < 1<<20 {
			if data, err := os.ReadFile(src); err == nil {
				_ = os.WriteFile(dst, data, info.Mode().Perm()|0o200)
			}
			return
		}
		bindFile(src, dst)
	default:
		bindFile(src, dst)
	}
}

func bindFile(src, dst string) {
	if os.WriteFile(dst, nil, 0o600) == nil {
		_ = unix.Mount(src, dst, "", unix.MS_BIND, "")
	}
}

// mountPoint makes sure that path exists as a directory (or file) on which something can be mounted, without
// writing to the file system of the host: when the nearest existing directory is the host's, it is first
// replaced, in this mount namespace, by a tmpfs that holds its entries.
func mountPoint(path string, file bool) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	for {
		if _, err := os.Stat(parent); err == nil {
			break
		}
		parent = filepath.Dir(parent)
	}
	own, err := isOwn(parent)
	if err != nil {
		return err
	}
	if !own {
		if err := shadow(parent); err != nil {
			return err
		}
	}
	if !file {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making %s: %w", filepath.Dir(path), err)
	}
	return os.WriteFile(path, nil, 0o644)
}

func isOwn(dir string) (bool, error) {
	var at, of unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return false, fmt.Errorf("looking at %s: %w", dir, err)
	}
	for _, d := range shadowed() {
		if err := unix.Stat(d, &of); err == nil && of.Dev == at.Dev {
			return true, nil
		}
	}
	return false, nil
}

func shadow(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := mountTmpfs(dir); err != nil {
		return err
	}
	return mirror(fmt.Sprintf("/proc/self/fd/%d/", fd), dir, nil)
}
