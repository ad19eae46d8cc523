package soak

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

const (
	// apps are released side by side; their users send rate requests a second in all.
	apps = 4
	rate = 200
	// rollouts of a run without FOR.
	rollouts = 20
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(apps)) // they wait more than they work
	}
	os.Exit(m.Run())
}

// TestSoak releases good and bad versions of several apps while something is wrong in each rollout, until 20 have ended or, with
// FOR=10m, until that time has passed. SEED repeats the choice of faults; MOMENTS="frozen,baking" deals those of some moments only.
func TestSoak(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (SEED=%d repeats it)", seed, seed)
	w := &world{seed: seed, figures: figures{faults: map[string]int{}, outcomes: map[Outcome]int{}, errors: map[string]int{}}}
	if s := os.Getenv("FOR"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		w.length = d
	}
	if s := os.Getenv("MOMENTS"); s != "" {
		for m := range strings.SplitSeq(s, ",") {
			w.only = append(w.only, Moment(m))
		}
	}
	w.receiver = fixtures.NewReceiver()
	defer w.receiver.Close()
	w.env = fixtures.Start(t, cluster.Options{PodEnv: fixtures.CacheGuard(), TestGateway: true, Prometheus: true, OutsidePorts: []int{w.receiver.Port()}})
	if out, err := w.env.Kubectl(t.Context(), "-n", fixtures.SiskinNamespace, "scale", "deployment/siskin", "--replicas=2"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := time.Now()
	w.until = began.Add(w.length)
	deals := w.deal()
	t.Run("apps", func(t *testing.T) {
		for i := range apps {
			t.Run(fmt.Sprintf("app-%d", i+1), func(t *testing.T) {
				t.Parallel()
				newApp(t, w, i).run(deals[i])
			})
		}
	})
	line := fmt.Sprintf("soak: seed %d, %s", seed, w.figures.line(time.Since(began)))
	t.Log(line)
	if file := os.Getenv("SOAK_LINE"); file != "" {
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
	if w.length == 0 && w.figures.rollouts < rollouts {
		t.Errorf("%d of %d rollouts have ended", w.figures.rollouts, rollouts)
	}
	if f := w.figures; f.missed > f.rollouts { // some are: a moment may pass while another fault strikes
		t.Errorf("%d faults missed their moment, %d did not: too little of the table was tried", f.missed, f.rollouts)
	}
}

// world is what the apps share.
type world struct {
	env      *fixtures.Env
	receiver *fixtures.Receiver
	seed     uint64
	// length of the run; 0: until the rollouts are done. until is when it ends.
	length time.Duration
	until  time.Time
	// only are the moments that are dealt; none: all.
	only []Moment

	// api is held by whoever makes the API server unusable for tests too.
	api sync.RWMutex
	// disturbance is held by the one fault at a time that meets everybody.
	disturbance sync.Mutex
	// restarted is when the API server was, last; disturbance guards it.
	restarted time.Time

	// busy counts the apps that are being released.
	busy atomic.Int32

	mu       sync.Mutex
	hindered []Span // times in which Siskin could not act
	harmed   []Span // times in which users of all apps may see errors
	figures  figures
}

// plan of a turn: what goes wrong, when, in the release of what.
type deal struct {
	row    Row
	moment Moment
	good   bool
	// extra is a fault that meets everybody, after so long; its Name is empty where there is none.
	extra Row
	after time.Duration
	luck  float64 // of what it leaves to chance, below 1
}

// deal chooses the faults of all turns from the seed: every fault comes once before any comes again. Without FOR there are twice as many
// as are to strike, for those that miss their moment.
func (w *world) deal() [][]deal {
	rnd := rand.New(rand.NewPCG(w.seed, 0))
	n := 2 * rollouts / apps
	if w.length > 0 {
		n = int(w.length/(5*time.Second)) + 1
	}
	var own, everybody []Row
	for _, r := range Rows() {
		switch {
		case r.Everybody:
			everybody = append(everybody, r)
		case len(w.moments(r)) > 0:
			own = append(own, r)
		}
	}
	first, second := endless(rnd, own), endless(rnd, everybody)
	out := make([][]deal, apps)
	for turn := range n {
		for i := range apps {
			d := deal{row: first(), good: rnd.IntN(3) > 0, luck: rnd.Float64()}
			moments := w.moments(d.row)
			d.moment = moments[rnd.IntN(len(moments))]
			switch {
			case d.moment == RollingBack:
				d.good = false
			case d.row.GoodOnly, d.moment.goodOnly():
				d.good = true
			}
			if (turn+i)%2 == 0 {
				d.extra, d.after = second(), time.Duration(rnd.Int64N(int64(8*time.Second)))
			}
			out[i] = append(out[i], d)
		}
	}
	return out
}

// moments of a row that are dealt.
func (w *world) moments(r Row) []Moment {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.Outcomes)), func(m Moment) bool { return len(w.only) > 0 && !slices.Contains(w.only, m) })
}

// endless deals rows, each once before any comes again.
func endless(rnd *rand.Rand, rows []Row) func() Row {
	var deck []Row
	return func() Row {
		if len(deck) == 0 {
			deck = slices.Clone(rows)
			rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		top := deck[0]
		deck = deck[1:]
		return top
	}
}

const (
	// relearn is how long Siskin's caches may be old after the API server was away: a watch that was refused again and again is tried anew after
	// up to 30 s, and as much again by chance.
	relearn = time.Minute
	// recovered is how long all watches of the cluster must have been well until they are tried soon again. An API server that is restarted before
	// leaves the controllers of Kubernetes blind for longer than any deadline here.
	recovered = 150 * time.Second
)

// hinder notes a time in which Siskin cannot act, until done is called.
func (w *world) hinder() (done func()) { return w.open(&w.hindered, time.Second) }

// away notes a time in which the API server is not there for Siskin, until done is called.
func (w *world) away() (done func()) { return w.open(&w.hindered, relearn) }

// harm notes a time in which users of all apps may see errors, until done is called.
func (w *world) harm() (done func()) { return w.open(&w.harmed, time.Second) }

// open begins a span, which lasts so much longer than until it is ended.
func (w *world) open(spans *[]Span, longer time.Duration) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := len(*spans)
	*spans = append(*spans, Span{From: time.Now(), To: time.Now().Add(time.Hour)})
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		(*spans)[i].To = time.Now().Add(longer)
	}
}

func (w *world) spans(of *[]Span) []Span {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*of)
}

// figures of a run. A turn whose fault missed its moment is no rollout of it.
type figures struct {
	rollouts, requests, allowed, missed int
	outcomes                            map[Outcome]int
	faults                              map[string]int
	errors                              map[string]int // by kind of version
	slowest                             time.Duration  // rollback
}

// ended counts a turn.
func (f *figures) ended(d deal, o Outcome, struck bool) {
	if !struck {
		f.missed++
		return
	}
	f.rollouts++
	f.outcomes[o]++
	f.faults[d.row.Name]++
}

func (w *world) count(f func(*figures)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.figures)
}

func (f figures) line(took time.Duration) string {
	var kinds, outcomes []string
	n := 0
	for _, name := range slices.Sorted(maps.Keys(f.faults)) {
		kinds, n = append(kinds, fmt.Sprintf("%s %d", name, f.faults[name])), n+f.faults[name]
	}
	for _, o := range slices.Sorted(maps.Keys(f.outcomes)) {
		outcomes = append(outcomes, fmt.Sprintf("%s %d", o, f.outcomes[o]))
	}
	return fmt.Sprintf("%s: %d rollouts (%s), %d faults (%s); %d more missed their moment; %d requests, errors of good versions %d, of bad ones %d, "+
		"allowed by the table %d; slowest rollback %s",
		took.Round(time.Second), f.rollouts, strings.Join(outcomes, ", "), n, strings.Join(kinds, ", "), f.missed,
		f.requests, f.errors["good"], f.errors["bad"], f.allowed, f.slowest.Round(10*time.Millisecond))
}

// judge counts what users saw and returns what the table does not allow. Answers of bad versions are theirs; failures without a
// version may come in the spans.
func (f *figures) judge(samples []load.Sample, bad map[string]bool, spans []Span) []string {
	var out []string
	for _, s := range samples {
		f.requests++
		if !s.Failed() {
			continue
		}
		if bad[s.Version] {
			f.errors["bad"]++
			continue
		}
		allowed := false
		for _, span := range spans {
			allowed = allowed || s.Version == "" && span.overlaps(s.At, s.At.Add(s.Took))
		}
		if allowed {
			f.allowed++
			continue
		}
		f.errors["good"]++
		out = append(out, fmt.Sprintf("%s a request failed after %s: status %d, version %q, backend %q, %s",
			s.At.Format("15:04:05.000"), s.Took.Round(time.Millisecond), s.Status, s.Version, s.Backend, s.Err))
	}
	return out
}

// poll calls ok every 30 ms until it returns nothing, and returns what was missing when the limit passed.
func poll(ctx context.Context, limit time.Duration, ok func(ctx context.Context) string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		// A request that the API server took just before it was killed may never be answered.
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		missing := ok(attempt)
		done()
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", limit, missing)
		case <-tick.C:
		}
	}
}

// pause lets a fault last.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
