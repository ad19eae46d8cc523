package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

// round is what one release of all Canaries showed.
type round struct {
	name       string
	lags       lags
	released   time.Duration // until the last Canary was released
	took       []time.Duration
	calls, cpu float64 // per rollout; cpu in ms
	reconciles float64
	cores      map[string]float64
	rss        float64 // MiB
}

func (r round) text() string {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	d, s := r.lags.decided, r.lags.seen
	return fmt.Sprintf("%s: steps=%d lag_ms p50=%d p99=%d max=%d seen_ms p50=%d p99=%d max=%d late_splits=%d rollout_s p50=%.1f max=%.1f calls_per_rollout=%.1f cpu_ms_per_rollout=%.1f rss_mib=%.0f",
		r.name, len(d), ms(quantile(d, 0.5)), ms(quantile(d, 0.99)), ms(quantile(d, 1)), ms(quantile(s, 0.5)), ms(quantile(s, 0.99)),
		ms(quantile(s, 1)), r.lags.late, quantile(r.took, 0.5).Seconds(), quantile(r.took, 1).Seconds(), r.calls, r.cpu, r.rss)
}

// measure creates the Canaries and releases all of them, at once and then spread over an interval. It returns the line of figures and
// the largest 99th percentile of a round's lag.
func (w *world) measure(ctx context.Context) (line string, worst time.Duration, err error) {
	if err := w.initialize(ctx); err != nil {
		return "", 0, err
	}
	rounds := []struct {
		name string
		over time.Duration
	}{{"lockstep", 0}, {"spread", w.o.interval}}
	if w.o.lockstepOnly {
		rounds = rounds[:1]
	}
	var parts []string
	for i, one := range rounds {
		r, err := w.round(ctx, one.name, int64(i+1), one.over)
		if err != nil {
			return "", 0, err
		}
		w.say("%s", r.text())
		w.say("%s: released within %s; cores busy: %s; reconciles per rollout %.1f", r.name, r.released.Round(100*time.Millisecond), cores(r.cores), r.reconciles)
		w.say("%s: lag by step: %s", r.name, r.lags.steps())
		worst = max(worst, quantile(r.lags.decided, 0.99))
		parts = append(parts, r.text())
	}
	return fmt.Sprintf("scale: canaries=%d interval=%s %s", w.o.canaries, w.o.interval, strings.Join(parts, " | ")), worst, nil
}

// initialize creates the Canaries and waits until all are initialized.
func (w *world) initialize(ctx context.Context) error {
	w.say("creating %d Canaries in %d namespaces", w.o.canaries, w.fleet.Namespaces)
	before, err := fleet.Scrape(ctx, http.DefaultClient, w.metrics)
	if err != nil {
		return err
	}
	busy, began := w.cpu(), time.Now()
	if err := w.fleet.Create(ctx); err != nil {
		return err
	}
	created := time.Since(began)
	if _, err := w.recorder.untilAll(ctx, w.o.canaries, siskinv1.PhaseInitialized, 0, 15*time.Minute); err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := fleet.Scrape(ctx, http.DefaultClient, w.metrics)
	if err != nil {
		return err
	}
	n := float64(w.o.canaries)
	w.say("all are created after %s and initialized after %s; calls each: %s; reconciles each %.1f; CPU each %.1f ms; cores busy: %s",
		created.Round(100*time.Millisecond), elapsed.Round(100*time.Millisecond), after.Since(before, n), (after.Reconciles-before.Reconciles)/n,
		(after.CPU-before.CPU)*1000/n, cores(busySince(busy, w.cpu(), elapsed)))
	return nil
}

// busySince returns how many cores each process kept busy.
func busySince(before, after map[string]float64, elapsed time.Duration) map[string]float64 {
	out := map[string]float64{}
	for process, seconds := range after {
		out[process] = (seconds - before[process]) / elapsed.Seconds()
	}
	return out
}

func (w *world) round(ctx context.Context, name string, number int64, over time.Duration) (round, error) {
	r := round{name: name}
	if err := fleet.Pause(ctx, 15*time.Second); err != nil { // what drains is scaled down, and texts for people are written
		return r, err
	}
	w.recorder.take()
	before, err := fleet.Scrape(ctx, http.DefaultClient, w.metrics)
	if err != nil {
		return r, err
	}
	writes, err := w.serverWrites(ctx)
	if err != nil {
		return r, err
	}
	busy := w.cpu()
	w.say("%s: releasing a new version of each", name)
	start := time.Now()
	released, err := w.fleet.Release(ctx, int(number)+1, over)
	if err != nil {
		return r, err
	}
	r.released = time.Since(start)
	if w.o.profile != "" && over == 0 {
		w.act(func() { w.profileSiskin(ctx) })
		w.act(func() { w.profileServer(ctx) })
	}
	limit := 10*time.Minute + over + time.Duration(w.o.steps)*2*w.o.interval
	ended, err := w.recorder.untilAll(ctx, w.o.canaries, siskinv1.PhaseSucceeded, number, limit)
	if err != nil {
		return r, err
	}
	elapsed := time.Since(start)
	after, err := fleet.Scrape(ctx, http.DefaultClient, w.metrics)
	if err != nil {
		return r, err
	}
	n := float64(w.o.canaries)
	r.lags, r.took = w.recorder.take(), durations(released, ended)
	r.calls, r.cpu, r.rss = (after.Calls-before.Calls)/n, (after.CPU-before.CPU)*1000/n, after.RSS/(1<<20)
	r.reconciles = (after.Reconciles - before.Reconciles) / n
	r.cores = busySince(busy, w.cpu(), elapsed)
	w.say("%s: calls per rollout by verb: %s", name, after.Since(before, n))
	now, err := w.serverWrites(ctx)
	if err != nil {
		return r, err
	}
	w.say("%s: writes of all clients per rollout: %s", name, fleet.Reading{ByVerb: now}.Since(fleet.Reading{ByVerb: writes}, n))
	return r, nil
}

// serverWrites counts the API server's writes of all clients.
func (w *world) serverWrites(ctx context.Context) (map[string]float64, error) {
	api, err := kubernetes.NewForConfig(w.env.Config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	data, err := api.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the API server for metrics: %w", err)
	}
	return fleet.ServerWrites(bytes.NewReader(data))
}

// steps tells the lag at the end of each step.
func (l lags) steps() string {
	var parts []string
	for _, i := range slices.Sorted(maps.Keys(l.byStep)) {
		d := l.byStep[i]
		parts = append(parts, fmt.Sprintf("%d: p50=%d p99=%d max=%d ms", i, quantile(d, 0.5).Milliseconds(), quantile(d, 0.99).Milliseconds(), quantile(d, 1).Milliseconds()))
	}
	return strings.Join(parts, ", ") + fmt.Sprintf("; at most %d steps had to end in one second", l.crowd())
}

func durations(from, to map[types.NamespacedName]time.Time) []time.Duration {
	out := make([]time.Duration, 0, len(to))
	for key, at := range to {
		out = append(out, at.Sub(from[key]))
	}
	slices.Sort(out)
	return out
}

func cores(of map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", name, of[name]))
	}
	return strings.Join(parts, ", ")
}

// cpu returns the seconds of CPU that this process and its children have used, by name, and all of the machine's.
func (w *world) cpu() map[string]float64 {
	const ticks = 100 // per second, on all of Linux's architectures
	out := map[string]float64{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	self := os.Getpid()
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		head, tail, ok := strings.Cut(string(data), ") ")
		fields := strings.Fields(tail)
		pid, name, ok2 := strings.Cut(head, " (")
		if !ok || !ok2 || len(fields) < 13 || pid != strconv.Itoa(self) && fields[1] != strconv.Itoa(self) {
			continue
		}
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		out[name] += (user + system) / ticks
	}
	if data, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(data), "\n")
		for i, f := range strings.Fields(line) {
			if v, err := strconv.ParseFloat(f, 64); err == nil && i != 4 && i != 5 && i < 9 { // neither idle nor waiting
				out["(machine)"] += v / ticks
			}
		}
	}
	return out
}

// profiled is how long profiles are taken: as long as the steps last if nothing is late.
func (w *world) profiled() string {
	return strconv.Itoa(int((time.Duration(w.o.steps) * w.o.interval).Seconds()))
}

// profileSiskin writes a CPU profile of Siskin.
func (w *world) profileSiskin(ctx context.Context) {
	body, err := func() ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.pprof+"profile?seconds="+w.profiled(), nil)
		if err != nil {
			return nil, fmt.Errorf("asking for a profile: %w", err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("asking for a profile: %w", err)
		}
		defer func() { _ = resp.Body.Close() }()
		return io.ReadAll(resp.Body)
	}()
	w.keep(w.o.profile, body, err)
}

// profileServer writes a CPU profile of the API server beside Siskin's.
func (w *world) profileServer(ctx context.Context) {
	api, err := kubernetes.NewForConfig(w.env.Config)
	if err != nil {
		w.say("profiling: %v", err)
		return
	}
	body, err := api.Discovery().RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", w.profiled()).
		Timeout(30 * time.Minute).DoRaw(ctx)
	w.keep(w.o.profile+".apiserver", body, err)
}

func (w *world) keep(path string, data []byte, err error) {
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	w.say("profile of %d bytes in %s (%v)", len(data), path, err)
}
