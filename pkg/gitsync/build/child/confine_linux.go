package child

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// ownNetwork has a child start in a network namespace of its own, in which not even a loopback is up. It takes a user
// namespace, which not every kernel and container allows.
func ownNetwork() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET}
}

// confine binds this process for good: its memory, its processor time, and what it may ask of the kernel.
func confine(l Limits) error {
	// When the container's memory runs out, a build goes first.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	debug.SetMemoryLimit(l.Memory / 100 * 75)
	debug.SetMaxStack(64 << 20)
	cpu := uint64(l.CPU.Seconds())
	for what, limit := range map[int]unix.Rlimit{
		unix.RLIMIT_DATA:  {Cur: uint64(l.Memory), Max: uint64(l.Memory)}, //nolint:gosec // positive
		unix.RLIMIT_CPU:   {Cur: cpu, Max: cpu + 1},
		unix.RLIMIT_CORE:  {},
		unix.RLIMIT_FSIZE: {},
	} {
		if err := unix.Setrlimit(what, &limit); err != nil {
			return fmt.Errorf("setting limit %d: %w", what, err)
		}
	}
	return refuse()
}

// refused is what a build has no business with: networks, files, other programs, other processes, and ways around these.
func refused() []string {
	return []string{
		"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg",
		"open", "openat", "openat2", "creat", "open_by_handle_at", "name_to_handle_at",
		"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd",
		"unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "io_uring_setup", "bpf", "perf_event_open", "userfaultfd",
		"init_module", "finit_module", "keyctl", "add_key", "request_key", "unlink", "unlinkat", "rename", "renameat", "renameat2",
	}
}

// refuse has the kernel refuse these to all threads, for good (seccomp(2), filter mode; "no new privileges" comes with it). A
// kernel without it leaves the namespace, the limits and noNetwork.
func refuse() error {
	if !seccomp.Supported() {
		return nil
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return nil //nolint:nilerr // a processor that the library does not know
	}
	names := slices.DeleteFunc(refused(), func(name string) bool {
		_, known := info.SyscallNames[name]
		return !known
	})
	err = seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Names: names, Action: seccomp.ActionErrno}},
		},
	})
	if err != nil {
		return fmt.Errorf("filtering system calls: %w", err)
	}
	return nil
}
