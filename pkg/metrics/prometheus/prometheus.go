// Package prometheus asks a server that speaks Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics.
package prometheus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/siskin-dev/siskin/pkg/metrics"
)

// Type is the name under which the provider is registered.
const Type = "prometheus"

const (
	defaultTimeout = 5 * time.Second
	defaultMaxBody = 4 << 20
	maxDetail      = 300
)

// Config is how the server is reached.
type Config = metrics.Config

// Provider asks one server over one pool of connections.
type Provider struct {
	api       promv1.API
	timeout   time.Duration
	transport *http.Transport
}

var (
	_ metrics.Provider = (*Provider)(nil)
	_ io.Closer        = (*Provider)(nil)
)

// Constructor is New as the registry wants it.
func Constructor(cfg Config) (metrics.Provider, error) { return New(cfg) }

// New makes a provider. It sends nothing yet.
func New(cfg Config) (*Provider, error) {
	u, err := url.Parse(cfg.Address)
	if err != nil {
		return nil, errors.New("the address of the metrics server is not a URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the address %q of the metrics server is not an http or https URL", u.Redacted())
	}
	tlsConfig, err := tlsOf(cfg)
	if err != nil {
		return nil, err
	}
	timeout, maxBody := cfg.Timeout, cfg.MaxBody
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	if maxBody <= 0 {
		maxBody = defaultMaxBody
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: timeout}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   timeout,
		ResponseHeaderTimeout: timeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   32, // as many queries as may run at once, more or less
		MaxConnsPerHost:       32,
		IdleConnTimeout:       time.Minute,
	}
	client, err := api.NewClient(api.Config{Address: cfg.Address, Client: &http.Client{
		Transport: &roundTripper{next: transport, header: headerOf(cfg), maxBody: maxBody},
		// A redirect would carry the credentials to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", u.Redacted(), err)
	}
	return &Provider{api: promv1.NewAPI(client), timeout: timeout, transport: transport}, nil
}

func tlsOf(cfg Config) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: cfg.InsecureSkipVerify, //nolint:gosec // the user's explicit wish, off by default
	}
	if len(cfg.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("ca.crt holds no PEM certificate")
		}
	}
	return c, nil
}

func headerOf(cfg Config) http.Header {
	h := http.Header{}
	for name, values := range cfg.Headers {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	switch {
	case cfg.Token != "":
		h.Set("Authorization", "Bearer "+strings.TrimSpace(cfg.Token))
	case cfg.Username != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(cfg.Username, cfg.Password)
	}
	return h
}

// Query asks for one value at one time.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var status int
	value, warnings, _, err := p.api.Query(context.WithValue(ctx, statusKey{}, &status), q.Text, q.At)
	if err != nil {
		return metrics.Sample{}, classify(status, err)
	}
	number, err := single(value)
	if err != nil {
		return metrics.Sample{}, err
	}
	return metrics.Sample{Value: number, Warnings: warnings}, nil
}

// Close ends idle connections; queries under way finish.
func (p *Provider) Close() error {
	p.transport.CloseIdleConnections()
	return nil
}

// single returns the one number of an answer.
func single(value model.Value) (float64, error) {
	var number float64
	switch v := value.(type) {
	case *model.Scalar:
		number = float64(v.Value)
	case model.Vector:
		switch {
		case len(v) == 0:
			return 0, metrics.ErrNoData
		case len(v) > 1:
			return 0, &metrics.SeveralSeriesError{Count: len(v)}
		case v[0].Histogram != nil:
			return 0, fmt.Errorf("%w: the result is a histogram: take a number from it with histogram_quantile() or histogram_count()",
				metrics.ErrInvalidQuery)
		}
		number = float64(v[0].Value)
	case model.Matrix:
		return 0, fmt.Errorf("%w: the result is a range: reduce it to one value, for example with rate() or avg_over_time()",
			metrics.ErrInvalidQuery)
	default:
		return 0, fmt.Errorf("%w: the result is neither a number nor a vector", metrics.ErrInvalidQuery)
	}
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return 0, fmt.Errorf("%w: the result is %v", metrics.ErrNoData, number)
	}
	return number, nil
}

// classify makes a typed error of what the client says and of the last HTTP status, 0 without one.
func classify(status int, err error) error {
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("%w: %w", metrics.ErrInvalidQuery, errTooLarge)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer in time", metrics.ErrUnavailable)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: the server answered %d %s", metrics.ErrDenied, status, http.StatusText(status))
	}
	detail := clean(err.Error())
	failed, ok := errors.AsType[*promv1.Error](err)
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", metrics.ErrUnavailable, clean(withoutURL(err).Error()))
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity,
		failed.Type == promv1.ErrBadData, failed.Type == promv1.ErrExec:
		return fmt.Errorf("%w: %s", metrics.ErrInvalidQuery, clean(failed.Msg))
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return fmt.Errorf("%w: the server redirects (%d), which is not followed: correct the address", metrics.ErrUnavailable, status)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: no Prometheus API at this address (404): check its path", metrics.ErrUnavailable)
	case status >= http.StatusBadRequest:
		return fmt.Errorf("%w: the server answered %d %s", metrics.ErrUnavailable, status, http.StatusText(status))
	}
	return fmt.Errorf("%w: the answer is not Prometheus' JSON: %s", metrics.ErrUnavailable, detail)
}

// withoutURL drops the URL, which may hold credentials.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// clean makes one short line of a server's words.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxDetail {
		return string(runes[:maxDetail]) + "…"
	}
	return s
}
