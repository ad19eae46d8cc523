//go:build !linux

package child

import (
	"runtime/debug"
	"syscall"
)

// ownNetwork asks for nothing: only Linux has network namespaces. Siskin's images are for Linux; this is for tests elsewhere.
func ownNetwork() *syscall.SysProcAttr { return nil }

func confine(l Limits) error {
	debug.SetMemoryLimit(l.Memory / 100 * 75)
	debug.SetMaxStack(64 << 20)
	return nil
}
