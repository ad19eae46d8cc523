package sandbox

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// TempDir is where clusters live: not below /tmp, where pods like to have a volume.
func TempDir() string {
	const dir = "/var/tmp"
	if unix.Access(dir, unix.W_OK) == nil {
		return dir
	}
	return os.TempDir()
}

// Namespaces starts a process as the first one of a cluster: as root of namespaces of its own, for any user.
func Namespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		// Away from the terminal: Ctrl-C is for the parent, which then stops the cluster.
		Setsid: true,
	}
}
