package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// Verb is the hidden command of the program that serves one build: it calls Serve with its arguments.
const Verb = "build-commit"

// Builder builds each directory in a process of its own, one at a time.
type Builder struct {
	// Program is what is started with Verb; "": this program.
	Program string
	// Limits of one build; zeros are defaults.
	Limits Limits
	// Environment of the child. It needs none.
	Environment []string

	turn sync.Mutex
}

// Build returns the objects of a directory of a commit. Errors are *build.PathError, *build.Error and *build.LimitError; any
// other says that the child could not be run.
func (b *Builder) Build(ctx context.Context, repo tree.Tree, o build.Options) ([]*unstructured.Unstructured, error) {
	b.turn.Lock()
	defer b.turn.Unlock()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	limits := b.Limits.OrDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Wall, &build.LimitError{
		Limit: "time", Msg: fmt.Sprintf("it took longer than %s", limits.Wall),
	})
	defer cancel()
	c, err := b.start(ctx, limits)
	if err != nil {
		return nil, fmt.Errorf("starting the process that builds: %w", err)
	}
	a, err := c.converse(repo, o)
	ended := c.end()
	switch {
	case err == nil:
		return decode(a)
	case errors.As(err, new(*build.LimitError)):
		return nil, err
	default:
		return nil, c.why(ctx, ended, err)
	}
}

// running is one child.
type running struct {
	limits Limits
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	said   head
	stop   context.CancelFunc
}

func (b *Builder) start(ctx context.Context, limits Limits) (*running, error) {
	program := b.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	c, err := b.spawn(ctx, program, limits, true)
	if err != nil { // the kernel, or the container, does not let us have a namespace
		c, err = b.spawn(ctx, program, limits, false)
	}
	return c, err
}

func (b *Builder) spawn(ctx context.Context, program string, limits Limits, alone bool) (*running, error) {
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, append([]string{Verb}, limits.flags()...)...) //nolint:gosec // this program
	// No PATH: there is no program that kustomize could start. One processor: a build is no reason for others to wait.
	cmd.Env = append([]string{"PATH=", "HOME=/nonexistent", "GOMAXPROCS=1", "GOTRACEBACK=none"}, b.Environment...)
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	if alone {
		cmd.SysProcAttr = ownNetwork()
	}
	c := &running{limits: limits, cmd: cmd, stop: stop}
	cmd.Stderr = &c.said
	var err error
	if c.in, err = cmd.StdinPipe(); err == nil {
		c.out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return c, nil
}

// converse gives the child the list of files, then each file that it asks for, until it answers.
func (c *running) converse(repo tree.Tree, o build.Options) (answer, error) {
	var a answer
	req, err := json.Marshal(request{Path: o.Path, TargetNamespace: o.TargetNamespace, Files: list(repo)})
	if err != nil {
		return a, fmt.Errorf("encoding the list of files: %w", err)
	}
	if len(req) > maxRequest {
		return a, &build.LimitError{Limit: "names of files", Msg: "the names of the commit's files are larger than 64 MiB"}
	}
	if err := writeFrame(c.in, kindRequest, req); err != nil {
		return a, err
	}
	left := c.limits.Read
	for {
		// Objects and their escapes: what the child makes of them is checked when it is decoded.
		k, data, err := readFrame(c.out, max(2*c.limits.Generated, maxName))
		switch {
		case err != nil:
			return a, err
		case k == kindAnswer:
			if err := json.Unmarshal(data, &a); err != nil {
				return a, fmt.Errorf("decoding the answer: %w", errors.Join(errFrame, err))
			}
			return a, nil
		case k != kindRead:
			return a, errFrame
		}
		if err := c.give(repo, string(data), &left); err != nil {
			return a, err
		}
	}
}

// give sends one file.
func (c *running) give(repo tree.Tree, name string, left *int64) error {
	data, err := repo.ReadFile(name)
	if err != nil {
		return writeFrame(c.in, kindRefused, []byte(err.Error()))
	}
	if *left -= int64(len(data)); *left < 0 {
		return &build.LimitError{
			Limit: "files read", Msg: fmt.Sprintf("it reads more than %d MiB of files (%s was the last)", c.limits.Read>>20, name),
		}
	}
	return writeFrame(c.in, kindData, data)
}

// end ends the child, which has answered or is not worth waiting for, and returns how it ended.
func (c *running) end() error {
	_ = c.in.Close()
	c.stop()
	return c.cmd.Wait() //nolint:wrapcheck // read by why
}

// why tells why there is no answer.
func (c *running) why(ctx context.Context, ended, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if limit, ok := errors.AsType[*build.LimitError](cause); ok {
			return limit
		}
		return fmt.Errorf("building: %w", cause)
	}
	said := c.said.String()
	exit, _ := errors.AsType[*exec.ExitError](ended)
	state := c.cmd.ProcessState
	cpu := state.UserTime() + state.SystemTime()
	switch {
	case exit != nil && (signalled(exit, syscall.SIGXCPU) || cpu >= c.limits.CPU):
		return &build.LimitError{Limit: "processor time", Msg: fmt.Sprintf("it took more than %s of processor time", c.limits.CPU)}
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory"):
		return &build.LimitError{Limit: "memory", Msg: fmt.Sprintf("it took more than %d MiB of memory", c.limits.Memory>>20)}
	case strings.Contains(said, "stack overflow") || strings.Contains(said, "stack exceeds"):
		return &build.LimitError{Limit: "depth", Msg: "it is nested too deeply"}
	case exit != nil && signalled(exit, syscall.SIGKILL) && !errors.Is(err, errFrame):
		return &build.LimitError{Limit: "memory", Msg: "it was ended by the system, most likely because memory ran out"}
	default:
		return &build.LimitError{Limit: "crash", Msg: "the process that builds ended without an answer: " + oneLine(said, err)}
	}
}

func signalled(exit *exec.ExitError, s syscall.Signal) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == s
}

func oneLine(said string, err error) string {
	for line := range strings.SplitSeq(said, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return err.Error()
}

// decode returns the objects of an answer, or its error.
func decode(a answer) ([]*unstructured.Unstructured, error) {
	if f := a.Failure; f != nil {
		switch f.Kind {
		case failedPath:
			return nil, &build.PathError{Path: f.Path, Err: errors.New(f.Message)}
		case failedLimit:
			return nil, &build.LimitError{Limit: f.Path, Msg: f.Message}
		default:
			return nil, &build.Error{File: f.Path, Err: errors.New(f.Message)}
		}
	}
	out := make([]*unstructured.Unstructured, 0, len(a.Objects))
	for _, raw := range a.Objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("decoding an object: %w", errors.Join(errFrame, err))
		}
		out = append(out, u)
	}
	return out, nil
}

func list(repo tree.Tree) []file {
	var out []file
	for name, e := range repo.All() {
		out = append(out, file{Name: name, Link: e.Link})
	}
	for _, name := range repo.Unusable() {
		out = append(out, file{Name: name})
	}
	return out
}

// head keeps the beginning of what the child says on its standard error: the first line of a crash tells its reason.
type head struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const mostSaid = 16 << 10

// Write takes what still fits.
func (t *head) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := mostSaid - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
