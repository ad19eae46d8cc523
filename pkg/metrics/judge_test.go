package metrics_test

import (
	"math"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics"
)

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		value    float64
		limits   metrics.Limits
		want     metrics.Verdict
		wantText string
	}{
		"at the least value passes":       {99, metrics.Limits{Min: new(99.0)}, metrics.Pass, ">= 99"},
		"below the least value fails":     {98.99, metrics.Limits{Min: new(99.0)}, metrics.Fail, ">= 99"},
		"at the largest value passes":     {500, metrics.Limits{Max: new(500.0)}, metrics.Pass, "<= 500"},
		"above the largest value fails":   {500.1, metrics.Limits{Max: new(500.0)}, metrics.Fail, "<= 500"},
		"inside a range passes":           {3, metrics.Limits{Min: new(1.0), Max: new(5.5)}, metrics.Pass, "1..5.5"},
		"above a range fails":             {6, metrics.Limits{Min: new(1.0), Max: new(5.0)}, metrics.Fail, "1..5"},
		"zero as the limit is a limit":    {1, metrics.Limits{Max: new(0.0)}, metrics.Fail, "<= 0"},
		"NaN is neither good nor bad":     {math.NaN(), metrics.Limits{Max: new(1.0)}, metrics.Inconclusive, "<= 1"},
		"infinity is neither good or bad": {math.Inf(1), metrics.Limits{Max: new(1.0)}, metrics.Inconclusive, "<= 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, text := metrics.Judge(c.value, c.limits)
			if got != c.want || text != c.wantText {
				t.Errorf("got %s %q, want %s %q", got, text, c.want, c.wantText)
			}
		})
	}
}

func TestFormatValue(t *testing.T) {
	for value, want := range map[float64]string{
		98.7249: "98.72", 0.5: "0.5", 100: "100", 0: "0", 0.012345: "0.0123", 1234567.891: "1234567.89", -3.20: "-3.2",
		0.00000001: "1e-08", 99.999: "100", 1e20: "1e+20", 0.1: "0.1",
	} {
		if got := metrics.FormatValue(value); got != want {
			t.Errorf("%v: got %q, want %q", value, got, want)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	for name, c := range map[string]struct {
		metric siskinv1.CanaryMetric
		want   string
	}{
		"threshold of the success rate is the least value": {older("request-success-rate", 99, nil), ">= 99"},
		"threshold of any other is the largest":            {older("request-duration", 500, nil), "<= 500"},
		"thresholdRange goes before threshold":             {older("x", 1, &siskinv1.ThresholdRange{Min: new(2.0)}), ">= 2"},
		"none":                                             {siskinv1.CanaryMetric{Name: "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := metrics.LimitsOf(c.metric)
			if got.String() != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, c.want)
			}
		})
	}
}

// older has the deprecated threshold.
func older(name string, threshold float64, r *siskinv1.ThresholdRange) siskinv1.CanaryMetric {
	return siskinv1.CanaryMetric{Name: name, Threshold: &threshold, ThresholdRange: r} //nolint:staticcheck // what is tested
}
