package hook_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/hook"
)

const opensslSignature = "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"

var update = flag.Bool("update", false, "rewrite the golden files")

// endpoint plays answers, the last one for ever, and records requests.
type endpoint struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	headers []http.Header
	bodies  []string
	times   []time.Time
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.headers, e.bodies, e.times = append(e.headers, r.Header.Clone()), append(e.bodies, string(body)), append(e.times, time.Now())
	answer := e.answers[min(len(e.bodies), len(e.answers))-1]
	answer(w)
}

func status(code int, body string, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func call(t *testing.T, r hook.Request, answers ...func(http.ResponseWriter)) (hook.Result, *endpoint) {
	t.Helper()
	e := &endpoint{answers: answers}
	s := httptest.NewServer(e)
	defer s.Close()
	r.URL = s.URL + "/hook?token=secret"
	return hook.NewClient(hook.Options{Version: "1.2.3"}).Call(t.Context(), r), e
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		want   hook.Result
	}{
		"200":           {status(200, "fine"), hook.Result{OK: true, Status: 200, Said: "fine", Attempts: 1}},
		"204":           {status(204, ""), hook.Result{OK: true, Status: 204, Attempts: 1}},
		"226":           {status(226, ""), hook.Result{OK: true, Status: 226, Attempts: 1}},
		"403 is a no":   {status(403, "not\tyet\r\n\x1b[31m"), hook.Result{Status: 403, Kind: hook.KindRefused, Message: "answered 403 Forbidden: not yet [31m", Attempts: 1}},
		"500 says why":  {status(500, "disk full"), hook.Result{Status: 500, Kind: hook.KindUnavailable, Message: "answered 500 Internal Server Error: disk full", Attempts: 1}},
		"no body":       {status(404, ""), hook.Result{Status: 404, Kind: hook.KindRefused, Message: "answered 404 Not Found", Attempts: 1}},
		"an odd status": {status(599, ""), hook.Result{Status: 599, Kind: hook.KindUnavailable, Message: "answered 599", Attempts: 1}},
		"a redirect": {
			status(302, "", "Location", "http://elsewhere"),
			hook.Result{Status: 302, Kind: hook.KindInvalid, Message: "answered 302, a redirect, which is not followed: correct the url", Attempts: 1},
		},
		"a long body is cut": {
			status(400, strings.Repeat("x", 100000)),
			hook.Result{Status: 400, Kind: hook.KindRefused, Message: "answered 400 Bad Request: " + strings.Repeat("x", 512), Attempts: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := call(t, hook.Request{}, c.answer)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// raw answers with bytes and closes the connection; nothing closes it unanswered.
func raw(answer string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		h, ok := w.(http.Hijacker)
		if !ok {
			return
		}
		conn, _, err := h.Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}
}

// TestTheStatusIsTheAnswer : what becomes of the body after it changes nothing, and without one there is no answer.
func TestTheStatusIsTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		reason       string
		answer       func(http.ResponseWriter)
		ok, answered bool
		kind         hook.Kind
		messageHas   string
		said         string
	}{
		"a body that breaks off": {
			reason: "the receiver said yes", answer: raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), ok: true, answered: true, said: "half",
		},
		"a body that is too large": {
			reason: "nobody needs it", answer: status(200, strings.Repeat("x", 1<<20)), ok: true, answered: true, said: strings.Repeat("x", 512),
		},
		"a no that breaks off": {
			reason: "what there is of it is shown", answer: raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nhalf"),
			answered: true, kind: hook.KindRefused, messageHas: "answered 403 Forbidden: half",
		},
		"closed without a word": {
			reason: "as a receiver that dies does", answer: raw(""), kind: hook.KindUnavailable, messageHas: "no answer: EOF",
		},
		"half a status line": {
			reason: "that is no status", answer: raw("HTTP/1.1 2"), kind: hook.KindUnavailable, messageHas: "no answer: ",
		},
		"not HTTP": {
			reason: "somebody else listens there", answer: raw("220 mail.test ESMTP\r\n\r\n"), kind: hook.KindUnavailable, messageHas: "no answer: ",
		},
		"a header without end": {
			reason: "memory is bounded", answer: raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"),
			kind: hook.KindUnavailable, messageHas: "no answer: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := call(t, hook.Request{}, c.answer)
			if got.OK != c.ok || got.Answered() != c.answered || got.Kind != c.kind || !strings.HasPrefix(got.Message, c.messageHas) || got.Said != c.said {
				t.Errorf("%s: %+v", c.reason, got)
			}
		})
	}
}

// TestNoAnswerIsToldWithoutTheOwnPort : the texts of two attempts are the same, so that a status which shows them is
// not written anew.
func TestNoAnswerIsToldWithoutTheOwnPort(t *testing.T) {
	there := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 80}
	for want, err := range map[string]error{
		"no answer: read 10.0.0.2:80: connection reset by peer": &net.OpError{
			Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 41234}, Addr: there, Err: syscall.ECONNRESET,
		},
		"no answer: dial 10.0.0.2:80: connection refused": &net.OpError{Op: "dial", Net: "tcp", Addr: there, Err: syscall.ECONNREFUSED},
		"no answer: dial: lookup gate.test: no such host": &net.OpError{
			Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "gate.test", IsNotFound: true},
		},
	} {
		c := hook.NewClient(hook.Options{})
		c.DialForTest(func(context.Context, string, string) (net.Conn, error) { return nil, err })
		got := c.Call(t.Context(), hook.Request{URL: "http://gate.test/"})
		if got.Message != want || got.Answered() {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
}

func TestHeadersAndSignature(t *testing.T) {
	_, e := call(t, hook.Request{HMACKey: []byte("key"), Token: "tok", IdempotencyKey: "uid/r1/rev-2/s2/a1/rollout/gate"}, status(200, ""))
	h := e.headers[0]
	for name, want := range map[string]string{
		"User-Agent": "siskin/1.2.3", "Authorization": "Bearer tok", "Idempotency-Key": "uid/r1/rev-2/s2/a1/rollout/gate", "Content-Type": "application/json",
		hook.HeaderSignature: hook.Sign([]byte("key"), h.Get(hook.HeaderTimestamp), []byte(e.bodies[0])),
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// Computed with: printf '1700000000.{}' | openssl dgst -sha256 -hmac key
	if got := hook.Sign([]byte("key"), "1700000000", []byte("{}")); got != opensslSignature {
		t.Errorf("signature %s", got)
	}
	_, e = call(t, hook.Request{}, status(200, ""))
	if e.headers[0].Get(hook.HeaderSignature) != "" || e.headers[0].Get("Authorization") != "" {
		t.Error("signed without a key")
	}
}

func TestABadURLIsInvalidAndNoSecretIsTold(t *testing.T) {
	c := hook.NewClient(hook.Options{})
	for _, url := range []string{"", "ftp://x", "http://", "http://[::1"} {
		if got := c.Call(t.Context(), hook.Request{URL: url}); got.Kind != hook.KindInvalid || got.Attempts != 0 {
			t.Errorf("%q: %+v", url, got)
		}
	}
	got := c.Call(t.Context(), hook.Request{URL: "http://127.0.0.1:1/?token=secret"})
	if got.Kind != hook.KindUnavailable || strings.Contains(got.Message, "secret") || got.Message == "" {
		t.Errorf("got %+v", got)
	}
}

func TestTLSIsVerifiedUnlessDisabled(t *testing.T) {
	s := httptest.NewTLSServer(&endpoint{answers: []func(http.ResponseWriter){status(200, "")}})
	defer s.Close()
	c := hook.NewClient(hook.Options{})
	if got := c.Call(t.Context(), hook.Request{URL: s.URL}); got.OK || got.Kind != hook.KindUnavailable {
		t.Errorf("verified: %+v", got)
	}
	if got := c.Call(t.Context(), hook.Request{URL: s.URL, InsecureSkipVerify: true}); !got.OK {
		t.Errorf("not verified: %+v", got)
	}
}

// inBubble calls an endpoint over in-memory connections, so that the bubble's clock runs.
func inBubble(ctx context.Context, t *testing.T, r hook.Request, h http.Handler) (hook.Result, time.Duration) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Hour}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	r.URL = "http://hook.test/"
	c := hook.NewClient(hook.Options{Jitter: func() float64 { return 1 }})
	c.DialForTest(l.dial)
	start := time.Now()
	result := c.Call(ctx, r)
	took := time.Since(start)
	c.CloseForTest()
	_ = s.Close()
	<-done
	return result, took
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestRetriesBackOff(t *testing.T) {
	for name, c := range map[string]struct {
		retries  int
		deadline time.Duration
		answers  []func(http.ResponseWriter)
		want     hook.Result
		took     time.Duration
	}{
		"5xx is repeated after 1s, 2s, 4s": {
			5, 0,
			[]func(http.ResponseWriter){status(500, ""), status(502, ""), status(429, ""), status(200, "")},
			hook.Result{OK: true, Status: 200, Attempts: 4},
			7 * time.Second,
		},
		"a no is not repeated": {
			5, 0,
			[]func(http.ResponseWriter){status(403, "")},
			hook.Result{Status: 403, Kind: hook.KindRefused, Message: "answered 403 Forbidden", Attempts: 1},
			0,
		},
		"Retry-After is honoured": {
			1, 0,
			[]func(http.ResponseWriter){status(429, "", "Retry-After", "17"), status(204, "")},
			hook.Result{OK: true, Status: 204, Attempts: 2},
			17 * time.Second,
		},
		"the back-off ends at 30s": {
			7, 0,
			[]func(http.ResponseWriter){status(500, "x")},
			hook.Result{Status: 500, Kind: hook.KindUnavailable, Message: "answered 500 Internal Server Error: x", Attempts: 8},
			(1 + 2 + 4 + 8 + 16 + 30 + 30) * time.Second,
		},
		"a wait beyond the deadline is not begun": {
			5, 5 * time.Second,
			[]func(http.ResponseWriter){status(503, "", "Retry-After", "10")},
			hook.Result{Status: 503, Kind: hook.KindUnavailable, Message: "answered 503 Service Unavailable", Attempts: 1},
			0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				got, took := inBubble(ctx, t, hook.Request{Retries: c.retries}, &endpoint{answers: c.answers})
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				if took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
			})
		})
	}
}

func TestASlowEndpointTimesOutForEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		got, took := inBubble(t.Context(), t, hook.Request{Retries: 1, Timeout: 3 * time.Second}, hang)
		if got.Kind != hook.KindUnavailable || got.Message != "no answer within 3s" || got.Attempts != 2 || took != 7*time.Second {
			t.Errorf("got %+v after %s", got, took)
		}
	})
}

func released() *siskinv1.Canary {
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-1"},
		Status: siskinv1.CanaryStatus{
			Phase: siskinv1.PhaseProgressing, CanaryWeight: 20, FailedChecks: 1,
			Canary:  &siskinv1.RevisionStatus{Revision: "podinfo-2", Image: "app:2", Commit: "main@sha1:abc"},
			Stable:  &siskinv1.RevisionStatus{Revision: "podinfo-1", Image: "app:1"},
			Step:    &siskinv1.StepStatus{Index: 2, Total: 5, Summary: "2/5", Attempt: 3},
			Rollout: &siskinv1.RolloutStatus{ID: 7},
			Checks: []siskinv1.CheckStatus{
				{Name: "request-success-rate", Type: "metric", Value: "98.72", Limit: ">= 99", Verdict: "fail"},
				{Name: "load", Type: "webhook", Verdict: "pass"},
			},
		},
	}
}

func TestPayloadsOfAllTypes(t *testing.T) {
	for _, typ := range []siskinv1.HookType{
		"", siskinv1.HookConfirmRollout, siskinv1.HookPreRollout, siskinv1.HookRollout, siskinv1.HookConfirmTrafficIncrease,
		siskinv1.HookConfirmPromotion, siskinv1.HookRollback, siskinv1.HookPostRollout, siskinv1.HookEvent,
	} {
		name := string(typ)
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			w := siskinv1.CanaryWebhook{Name: "hook", Type: typ, Metadata: map[string]string{"cmd": "test", "eventType": "mine"}}
			r, err := hook.Resolve(t.Context(), nil, released(), w, "asking")
			if err != nil {
				t.Fatal(err)
			}
			if typ == siskinv1.HookEvent {
				r = r.WithEvent(hook.EventWarning, "New revision detected", time.UnixMilli(1700000000123), "r7/podinfo-2/NewRevision/n3")
			}
			got, err := json.MarshalIndent(r.Payload, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	secret := func(name string, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}, Data: data}
	}
	c := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(
		secret("both", map[string][]byte{"hmacKey": []byte("k"), "token": []byte("t\n")}), secret("none", nil)).Build()
	w := siskinv1.CanaryWebhook{Name: "gate", URL: "http://x", Timeout: "1m30s", Retries: 3, DisableTLS: true, SecretRef: &siskinv1.SecretRef{Name: "both"}}
	got, err := hook.Resolve(t.Context(), c, released(), w, "r7/podinfo-2/t3/confirm-rollout/gate")
	if err != nil {
		t.Fatal(err)
	}
	got.Payload = hook.Payload{}
	want := hook.Request{
		URL: "http://x", Timeout: 90 * time.Second, Retries: 3, InsecureSkipVerify: true, HMACKey: []byte("k"), Token: "t",
		IdempotencyKey: "uid-1/r7/podinfo-2/t3/confirm-rollout/gate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"none", "absent"} {
		w.SecretRef.Name = name
		if _, err := hook.Resolve(t.Context(), c, released(), w, "r7/podinfo-2/t3/confirm-rollout/gate"); err == nil || !strings.HasPrefix(err.Error(), "webhook gate: Secret test/"+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.SecretRef, w.Timeout = nil, "0s"
	if _, err := hook.Resolve(t.Context(), c, released(), w, "r7/podinfo-2/t3/confirm-rollout/gate"); err == nil {
		t.Error("a timeout of 0 was accepted")
	}
}

func TestEventsOfOneStepHaveKeysOfTheirOwn(t *testing.T) {
	r := hook.Request{IdempotencyKey: "k"}
	now := time.UnixMilli(1)
	a, b, again := r.WithEvent("Normal", "a", now, "n1"), r.WithEvent("Normal", "b", now, "n2"), r.WithEvent("Normal", "a", now, "n1")
	if a.IdempotencyKey == b.IdempotencyKey || a.IdempotencyKey != again.IdempotencyKey {
		t.Errorf("%s %s %s", a.IdempotencyKey, b.IdempotencyKey, again.IdempotencyKey)
	}
}

func TestCallsAreMeasured(t *testing.T) {
	reg := prometheus.NewRegistry()
	hook.NewClient(hook.Options{Registerer: reg}).Call(t.Context(), hook.Request{Payload: hook.Payload{Type: siskinv1.HookRollout}})
	if n := testutil.CollectAndCount(reg, "siskin_webhook_duration_seconds"); n != 1 {
		t.Errorf("%d series", n)
	}
}
