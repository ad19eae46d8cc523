// Package testapp is the application of tests that need more control than podinfo gives: exact failure ratios,
// crashes, slowness, and a shutdown that loses no request.
package testapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// drain is how long the application serves on after SIGTERM, until nobody sends it requests any more: on a busy machine data planes learn
// late that a pod goes.
const drain = 5 * time.Second

type app struct {
	version, pod string
	ratio        float64
	delay        time.Duration
	notReady     bool

	mu       sync.Mutex
	debt     float64
	stopping atomic.Bool
	duration *prometheus.HistogramVec
}

// Run runs the application until SIGTERM. The environment configures it:
//
//	VERSION            what it says it is
//	FAIL_RATIO         the exact part of requests answered with 500 (0.5: every second one)
//	DELAY              the time each request takes ("100ms")
//	CRASH_AFTER_START  it exits with 1 after this time ("0s": at once)
//	NOT_READY          "true": /readyz fails
//	NOT_READY_AS       a part of pods' names: /readyz fails in those pods
//	ADDR               where it listens (":8080")
//
// POST /fail?ratio=0.5 changes the ratio of this process, so that a version turns bad long after it was found good.
//
// The argument --host=ADDRESS binds it to one address.
func Run(ctx context.Context, args []string) error {
	a := &app{version: env("VERSION", "0"), pod: env("HOSTNAME", "unknown"), notReady: env("NOT_READY", "") == "true"}
	if part := env("NOT_READY_AS", ""); part != "" && strings.Contains(a.pod, part) {
		a.notReady = true
	}
	var err error
	if a.ratio, err = strconv.ParseFloat(env("FAIL_RATIO", "0"), 64); err != nil {
		return fmt.Errorf("reading FAIL_RATIO: %w", err)
	}
	if a.delay, err = time.ParseDuration(env("DELAY", "0s")); err != nil {
		return fmt.Errorf("reading DELAY: %w", err)
	}
	if crash := env("CRASH_AFTER_START", ""); crash != "" {
		d, err := time.ParseDuration(crash)
		if err != nil {
			return fmt.Errorf("reading CRASH_AFTER_START: %w", err)
		}
		time.AfterFunc(d, func() {
			fmt.Fprintln(os.Stderr, "crashing as told")
			os.Exit(1)
		})
	}
	addr := env("ADDR", ":8080")
	for _, arg := range args {
		if host, ok := strings.CutPrefix(arg, "--host="); ok {
			addr = host + addr
		}
	}
	return a.serve(ctx, addr)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (a *app) serve(ctx context.Context, addr string) error {
	registry := prometheus.NewRegistry()
	a.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Help: "Seconds spent serving HTTP requests.", Buckets: prometheus.DefBuckets,
	}, []string{"method", "path", "status"})
	registry.MustRegister(a.duration)

	mux := http.NewServeMux()
	mux.HandleFunc("/", a.root)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if a.notReady || a.stopping.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("POST /fail", a.turn)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Printf("testapp version %s on %s\n", a.version, addr)
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	a.stopping.Store(true)
	t := time.NewTimer(drain)
	defer t.Stop()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-t.C:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(end); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("shutting down: %w", err)
	}
	return nil
}

// fails says whether this request fails: the debt grows by the ratio with each request, and a failure pays one.
func (a *app) fails() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.debt += a.ratio
	if a.debt < 1-1e-9 {
		return false
	}
	a.debt--
	return true
}

// turn changes the failure ratio.
func (a *app) turn(w http.ResponseWriter, r *http.Request) {
	ratio, err := strconv.ParseFloat(r.FormValue("ratio"), 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ratio, a.debt = ratio, 0
}

func (a *app) root(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if a.delay > 0 {
		t := time.NewTimer(a.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
	status := http.StatusOK
	if a.fails() {
		status = http.StatusInternalServerError
	}
	a.duration.WithLabelValues(r.Method, "root", strconv.Itoa(status)).Observe(time.Since(began).Seconds())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Version", a.version)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"version": a.version, "pod": a.pod})
}
