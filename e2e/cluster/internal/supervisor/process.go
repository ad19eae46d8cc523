package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a server that the supervisor runs, and that a test may stop and start.
type process struct {
	name  string
	path  string
	args  []string
	env   []string
	log   string
	ready func(ctx context.Context) error
	// exited is told when the process ends without being asked to.
	exited func(name string, err error)

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
	stopped bool
}

// start starts the process and waits until it is ready.
func (p *process) start(ctx context.Context) error {
	if err := p.spawn(); err != nil {
		return err
	}
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	err := poll(ctx, func(ctx context.Context) error {
		select {
		case <-done:
			return permanent{errors.New("it has exited")}
		default:
		}
		if p.ready == nil {
			return nil
		}
		return p.ready(ctx)
	})
	if err != nil {
		return fmt.Errorf("waiting for %s (see %s): %w", p.name, p.log, err)
	}
	return nil
}

func (p *process) spawn() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s is already running", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // it is ended by its process group, with grace
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = p.env, log, log, filepath.Dir(p.log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.stopped = cmd, done, false
	go p.wait(cmd, done)
	return nil
}

func (p *process) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	asked := p.stopped
	p.mu.Unlock()
	close(done)
	if !asked && p.exited != nil {
		p.exited(p.name, err)
	}
}

// signal sends a signal. A signal that ends the process is waited for.
func (p *process) signal(ctx context.Context, s syscall.Signal) error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	if cmd == nil {
		p.mu.Unlock()
		return fmt.Errorf("%s is not running", p.name)
	}
	ends := s == syscall.SIGKILL || s == syscall.SIGTERM
	p.stopped = p.stopped || ends
	p.mu.Unlock()
	if err := cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	if !ends {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", p.name, ctx.Err())
	}
}

// permanent is an error that poll does not try to outlive.
type permanent struct{ error }

// poll calls f until it succeeds, fails for good, or the context ends.
func poll(ctx context.Context, f func(ctx context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := f(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if p, ok := errors.AsType[permanent](err); ok {
			return p.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}
