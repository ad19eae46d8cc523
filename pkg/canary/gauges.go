package canary

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// Gauges are the series that Siskin exports about Canaries. Those of a Canary that is gone are dropped.
type Gauges struct {
	weight   *prometheus.GaugeVec
	phase    *prometheus.GaugeVec
	failed   *prometheus.GaugeVec
	rollouts *prometheus.CounterVec
	duration *prometheus.HistogramVec

	// shown is the phase that is shown of each Canary: to look for it among all series takes long when there are many.
	shown sync.Map
}

// NewGauges registers the series.
func NewGauges(reg prometheus.Registerer) *Gauges {
	who := []string{"namespace", "name"}
	g := &Gauges{
		weight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "siskin_canary_weight", Help: "Share of the traffic in percent, as decided, by role.",
		}, append(who, "role")),
		phase: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "siskin_canary_phase", Help: "1 for the phase that the Canary is in.",
		}, append(who, "phase")),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "siskin_canary_failed_checks", Help: "Failed checks of the running or last rollout.",
		}, who),
		rollouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "siskin_rollouts_total", Help: "Rollouts that ended, by outcome (Succeeded, Failed, Cancelled).",
		}, append(who, "outcome")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "siskin_rollout_duration_seconds", Help: "Duration of rollouts from the new revision to the end, by outcome.",
			Buckets: []float64{30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400},
		}, []string{"outcome"}),
	}
	reg.MustRegister(g.weight, g.phase, g.failed, g.rollouts, g.duration)
	return g
}

// set shows a decision that was stored.
func (g *Gauges) set(c *siskinv1.Canary, s plan.Snapshot, z plan.State) {
	if g == nil {
		return
	}
	g.weight.WithLabelValues(c.Namespace, c.Name, siskinv1.RolePrimary).Set(float64(z.Split.Primary))
	g.weight.WithLabelValues(c.Namespace, c.Name, siskinv1.RoleCanary).Set(float64(z.Split.Canary))
	g.failed.WithLabelValues(c.Namespace, c.Name).Set(float64(z.FailedChecks))
	was := s.State.Phase
	who := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	if past, ok := g.shown.Swap(who, z.Phase); ok && past != z.Phase {
		g.phase.DeleteLabelValues(c.Namespace, c.Name, fmt.Sprint(past))
	}
	g.phase.WithLabelValues(c.Namespace, c.Name, string(z.Phase)).Set(1)
	if ended := !was.Idle() && z.Phase.Idle() && z.Phase != plan.Initialized; ended && z.Rollout > 0 {
		g.rollouts.WithLabelValues(c.Namespace, c.Name, string(z.Phase)).Inc()
		g.duration.WithLabelValues(string(z.Phase)).Observe(s.Now.Sub(z.StartedAt).Seconds())
	}
}

// forget drops the series of a Canary that is gone.
func (g *Gauges) forget(namespace, name string) {
	if g == nil {
		return
	}
	g.shown.Delete(types.NamespacedName{Namespace: namespace, Name: name})
	labels := prometheus.Labels{"namespace": namespace, "name": name}
	g.weight.DeletePartialMatch(labels)
	g.phase.DeletePartialMatch(labels)
	g.failed.DeletePartialMatch(labels)
	g.rollouts.DeletePartialMatch(labels)
}
