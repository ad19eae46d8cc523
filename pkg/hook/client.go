package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// Headers of a call beside the usual ones.
const (
	// HeaderSignature is "sha256=" and the hex HMAC-SHA256 of "<timestamp>.<body>" with the Secret's hmacKey.
	HeaderSignature = "X-Siskin-Signature"
	// HeaderTimestamp is the time of the attempt in Unix seconds.
	HeaderTimestamp = "X-Siskin-Timestamp"
	// HeaderIdempotencyKey is the same for all repetitions of one call.
	HeaderIdempotencyKey = "Idempotency-Key"
)

const (
	defaultTimeout = 10 * time.Second
	firstBackoff   = time.Second
	maxBackoff     = 30 * time.Second
	// maxRetryAfter is the longest wait that an endpoint can ask for.
	maxRetryAfter = 5 * time.Minute
	maxMessage    = 512
	maxDrain      = 64 << 10
	// maxHeader bounds the header of an answer, in bytes; a longer one is none.
	maxHeader = 64 << 10
)

// Options of a Client.
type Options struct {
	// Version of Siskin, for the User-Agent.
	Version string
	// Clock for back-off and signatures. Default: the real one.
	Clock clock.Clock
	// Registerer takes siskin_webhook_duration_seconds; nil: none.
	Registerer prometheus.Registerer
	// Jitter returns a number in [0, 1) that spreads retries. Default: random.
	Jitter func() float64
}

// Client calls webhooks. It is safe for use by many goroutines and starts none of its own.
type Client struct {
	userAgent string
	clock     clock.Clock
	jitter    func() float64
	verifying *http.Client
	trusting  *http.Client // for disableTLS
	duration  *prometheus.HistogramVec
}

// NewClient returns a Client.
func NewClient(o Options) *Client {
	c := &Client{
		userAgent: "siskin/" + o.Version, clock: o.Clock, jitter: o.Jitter,
		verifying: httpClient(false), trusting: httpClient(true),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "siskin_webhook_duration_seconds",
			Help:    "Duration of webhook calls with their retries, by hook type and result.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"type", "result"}),
	}
	if c.clock == nil {
		c.clock = clock.RealClock{}
	}
	if c.jitter == nil {
		c.jitter = rand.Float64
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(c.duration)
	}
	return c
}

func httpClient(insecure bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: defaultTimeout}).DialContext,
			TLSClientConfig: &tls.Config{
				MinVersion:         tls.VersionTLS12,
				InsecureSkipVerify: insecure, //nolint:gosec // disableTLS: the user's explicit wish, off by default
			},
			TLSHandshakeTimeout:    defaultTimeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxHeader,
		},
		// A redirect would carry signature and token to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Call posts the request until it is answered, the retries are used up, or ctx ends.
func (c *Client) Call(ctx context.Context, r Request) Result {
	start := c.clock.Now()
	result := c.call(ctx, r)
	name := "ok"
	if !result.OK {
		name = strings.ToLower(string(result.Kind))
	}
	c.duration.WithLabelValues(string(r.Payload.Type), name).Observe(c.clock.Since(start).Seconds())
	return result
}

func (c *Client) call(ctx context.Context, r Request) Result {
	if u, err := url.Parse(r.URL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return Result{Kind: KindInvalid, Message: "the webhook's url is not an http or https URL"}
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // ">= 99" stays as it is
	if err := encoder.Encode(r.Payload); err != nil {
		return Result{Kind: KindInvalid, Message: "the body cannot be written as JSON: " + err.Error()}
	}
	body := bytes.TrimSpace(buffer.Bytes())
	for attempt := 0; ; attempt++ {
		result, retryAfter := c.attempt(ctx, r, body)
		result.Attempts = attempt + 1
		if result.Kind != KindUnavailable || attempt >= r.Retries {
			return result
		}
		if !c.wait(ctx, c.backoff(attempt, retryAfter)) {
			return result
		}
	}
}

// backoff is what the endpoint asks for, or 1s doubled for each attempt up to 30s, half of it at random.
func (c *Client) backoff(attempt int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return min(retryAfter, maxRetryAfter)
	}
	d := maxBackoff
	if attempt < 5 { // 1s << 5 is above the maximum
		d = min(firstBackoff<<attempt, maxBackoff)
	}
	return d/2 + time.Duration(c.jitter()*float64(d/2))
}

// wait returns false, at once, if ctx ends before d has passed.
func (c *Client) wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && c.clock.Now().Add(d).After(deadline) {
		return false
	}
	timer := c.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// attempt makes one try. The duration is what the endpoint asks to wait for.
func (c *Client) attempt(ctx context.Context, r Request, body []byte) (Result, time.Duration) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return Result{Kind: KindInvalid, Message: "the webhook's url is not an http or https URL"}, 0
	}
	c.setHeaders(req, r, body)
	client := c.verifying
	if r.InsecureSkipVerify {
		client = c.trusting
	}
	resp, err := client.Do(req)
	if err != nil {
		return Result{Kind: KindUnavailable, Message: connectionMessage(err, timeout)}, 0
	}
	defer func() { _ = resp.Body.Close() }()
	// The status is the answer: a body that breaks off, or has no end, changes nothing about it.
	start, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // so that the connection can be used again
	return c.judge(resp, oneLine(string(start)))
}

func (c *Client) setHeaders(req *http.Request, r Request, body []byte) {
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if r.IdempotencyKey != "" {
		req.Header.Set(HeaderIdempotencyKey, r.IdempotencyKey)
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	if len(r.HMACKey) > 0 {
		stamp := strconv.FormatInt(c.clock.Now().Unix(), 10)
		req.Header.Set(HeaderTimestamp, stamp)
		req.Header.Set(HeaderSignature, Sign(r.HMACKey, stamp, body))
	}
}

// Sign returns the signature header's value for a body that is sent at a time, in Unix seconds.
func Sign(key []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// judge tells what an answer means.
func (c *Client) judge(resp *http.Response, body string) (Result, time.Duration) {
	status := resp.StatusCode
	r := Result{Status: status}
	switch {
	case status >= 200 && status < 300:
		r.OK, r.Said = true, body
		return r, 0
	case status >= 300 && status < 400:
		r.Kind = KindInvalid
		r.Message = fmt.Sprintf("answered %d, a redirect, which is not followed: correct the url", status)
		return r, 0
	case status == http.StatusTooManyRequests || status >= 500:
		r.Kind = KindUnavailable
	default:
		r.Kind = KindRefused
	}
	r.Message = strings.TrimSpace(fmt.Sprintf("answered %d %s", status, http.StatusText(status)))
	if body != "" {
		r.Message += ": " + body
	}
	return r, c.retryAfter(resp.Header.Get("Retry-After"))
}

// retryAfter reads seconds or a date.
func (c *Client) retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(c.clock.Now()), 0)
	}
	return 0
}

// connectionMessage leaves the URL out, which may hold a secret.
func connectionMessage(err error, timeout time.Duration) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", timeout)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return "no answer: " + oneLine(cause(err))
}

// cause says what went wrong without the port that this side happened to have: the same failure is the same text.
func cause(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Err == nil {
		return err.Error()
	}
	if op.Addr == nil {
		return op.Op + ": " + op.Err.Error()
	}
	return op.Op + " " + op.Addr.String() + ": " + op.Err.Error()
}

// oneLine strips control characters, and bytes that are no text.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}
