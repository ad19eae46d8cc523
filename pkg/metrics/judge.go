package metrics

import (
	"math"
	"strconv"
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Limits is the range in which a value is good, limits included. A nil limit does not bind.
type Limits struct{ Min, Max *float64 }

// LimitsOf returns the limits of a metric. thresholdRange goes before the deprecated threshold, which is the least value for
// request-success-rate and the largest for others. ok is false if the metric has no limit at all.
func LimitsOf(m siskinv1.CanaryMetric) (l Limits, ok bool) {
	threshold := m.Threshold //nolint:staticcheck // manifests made for Flagger have it
	switch {
	case m.ThresholdRange != nil:
		l = Limits{Min: m.ThresholdRange.Min, Max: m.ThresholdRange.Max}
	case threshold != nil && m.Name == RequestSuccessRate:
		l = Limits{Min: threshold}
	case threshold != nil:
		l = Limits{Max: threshold}
	}
	return l, l.Min != nil || l.Max != nil
}

// String returns ">= 99", "<= 500", "1..5", or "" without limits.
func (l Limits) String() string {
	switch {
	case l.Min != nil && l.Max != nil:
		return exact(*l.Min) + ".." + exact(*l.Max)
	case l.Min != nil:
		return ">= " + exact(*l.Min)
	case l.Max != nil:
		return "<= " + exact(*l.Max)
	}
	return ""
}

// Judge holds a value against limits. NaN and infinity are no data, so inconclusive.
func Judge(value float64, l Limits) (Verdict, string) {
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return Inconclusive, l.String()
	case l.Min != nil && value < *l.Min, l.Max != nil && value > *l.Max:
		return Fail, l.String()
	}
	return Pass, l.String()
}

// FormatValue returns a value as people read it: at most two decimals from 1 on, at most three significant digits below.
func FormatValue(value float64) string {
	abs := math.Abs(value)
	switch {
	case abs >= 1e15 || math.IsNaN(value):
		return exact(value)
	case abs >= 1:
		return trimZeros(strconv.FormatFloat(value, 'f', 2, 64))
	case abs >= 1e-6:
		return trimZeros(strconv.FormatFloat(value, 'f', 2-int(math.Floor(math.Log10(abs))), 64))
	}
	return exact(value)
}

// formatAgainst is FormatValue, but a value that is out of range never looks as if it were at the limit.
func formatAgainst(value float64, l Limits) string {
	text := FormatValue(value)
	shown, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	was, _ := Judge(value, l)
	if is, _ := Judge(shown, l); is != was {
		return exact(value)
	}
	return text
}

func exact(v float64) string {
	if abs := math.Abs(v); abs >= 1e15 || abs > 0 && abs < 1e-6 {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
