package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// A probe that has never succeeded looks again every firstLook during the first firstLooks. A kubelet looks once
// per period, so that a pod that needs 50 ms to start may become ready after 10 s; tests cannot wait so long.
// Failures count once per period nevertheless, at its end.
const (
	firstLook  = 100 * time.Millisecond
	firstLooks = 10 * time.Second
)

// startProbes runs the container's probes until the context ends. A failed liveness or startup probe is told to
// unhealthy.
func (c *container) startProbes(ctx context.Context, pid int, unhealthy chan<- string) *sync.WaitGroup {
	wg := &sync.WaitGroup{}
	fail := func(kind string) {
		select {
		case unhealthy <- "failed " + kind + " probe":
		default:
		}
	}
	wg.Go(func() {
		if p := c.spec.StartupProbe; p != nil {
			started := false
			c.probe(ctx, "Startup", p, pid, func(ok bool) bool {
				started = ok
				return false
			})
			if ctx.Err() != nil {
				return
			}
			if !started {
				fail("startup")
				return
			}
			c.set(func(s *containerState) {
				s.started = true
				s.ready = c.spec.ReadinessProbe == nil
			})
		}
		if p := c.spec.LivenessProbe; p != nil {
			wg.Go(func() {
				c.probe(ctx, "Liveness", p, pid, func(ok bool) bool {
					if !ok {
						fail("liveness")
					}
					return ok
				})
			})
		}
		if p := c.spec.ReadinessProbe; p != nil {
			c.probe(ctx, "Readiness", p, pid, func(ok bool) bool {
				c.set(func(s *containerState) { s.ready = ok && s.state.Running != nil })
				return true
			})
		}
	})
	return wg
}

// probe calls report whenever the result changes (thresholds applied), until the context ends or report says no.
func (c *container) probe(ctx context.Context, kind string, p *corev1.Probe, pid int, report func(ok bool) bool) {
	if sleep(ctx, time.Duration(p.InitialDelaySeconds)*time.Second) != nil {
		return
	}
	period := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	successes, failures := int32(0), int32(0)
	reported, last, succeeded := false, false, false
	began := time.Now()
	periodEnd := began.Add(period)
	for wait := time.Duration(0); sleep(ctx, wait) == nil; {
		err := c.attempt(ctx, p.ProbeHandler, pid, timeout)
		if ctx.Err() != nil {
			return
		}
		eager := !succeeded && time.Since(began) < firstLooks
		if err == nil {
			successes, failures, succeeded = successes+1, 0, true
		} else if successes = 0; !eager || !time.Now().Before(periodEnd.Add(-firstLook)) {
			failures++
			c.w.a.events.Eventf(c.w.pod(), corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %v", kind, err)
		}
		ok := successes >= max(p.SuccessThreshold, 1)
		if (ok || failures >= max(p.FailureThreshold, 1)) && (!reported || ok != last) {
			reported, last = true, ok
			if !report(ok) {
				return
			}
		}
		if now := time.Now(); !now.Before(periodEnd.Add(-firstLook)) {
			periodEnd = now.Add(period)
		}
		wait = untilNext(period, err != nil && eager)
	}
}

// untilNext is the pause before the next probe; a container that has just started is looked at more often.
func untilNext(period time.Duration, soon bool) time.Duration {
	if soon {
		return min(period, firstLook)
	}
	return period
}

func (c *container) attempt(ctx context.Context, h corev1.ProbeHandler, pid int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		port, err := c.port(h.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.host(h.TCPSocket.Host), port))
		if err != nil {
			return err
		}
		return conn.Close()
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command, pid)
	case h.GRPC != nil:
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.w.ip, strconv.Itoa(int(h.GRPC.Port))))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return nil
}

func (c *container) host(h string) string {
	if h != "" {
		return h
	}
	return c.w.ip
}

func (c *container) port(p intstr.IntOrString) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(p.IntValue()), nil
	}
	for _, cp := range c.spec.Ports {
		if cp.Name == p.StrVal {
			return strconv.Itoa(int(cp.ContainerPort)), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil {
		return strconv.Itoa(n), nil
	}
	return "", fmt.Errorf("no port named %q", p.StrVal)
}

func (c *container) httpGet(ctx context.Context, g *corev1.HTTPGetAction) error {
	port, err := c.port(g.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if g.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	path := g.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(c.host(g.Host), port)+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/1.36")
	for _, h := range g.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
		req.Header.Add(h.Name, h.Value)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // as a kubelet does
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", resp.StatusCode)
	}
	return nil
}

// exec runs a command in the namespaces of the running container.
func (c *container) exec(ctx context.Context, argv []string, pid int) error {
	env, err := c.environment(ctx)
	if err != nil {
		return err
	}
	cmd, err := sandbox.Command(ctx, c.w.a.Self, sandbox.Spec{
		Join: pid, Argv: argv, Env: env, Dir: wire.ProgramsDir,
	}, nil)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		if _, isExit := err.(*exec.ExitError); isExit { //nolint:errorlint // made by Run, never wrapped
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out.Bytes()))
		}
		return err
	}
	return nil
}

// hook runs a lifecycle hook. Its failure is an event and nothing else.
func (c *container) hook(ctx context.Context, kind string, h *corev1.LifecycleHandler, pid int, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	switch {
	case h.Sleep != nil:
		_ = sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	case h.Exec != nil:
		err = c.exec(ctx, h.Exec.Command, pid)
	case h.HTTPGet != nil:
		err = c.httpGet(ctx, h.HTTPGet)
	}
	if err != nil {
		c.w.a.events.Eventf(c.w.pod(), corev1.EventTypeWarning, "Failed"+kind+"Hook", "%v", err)
	}
}
