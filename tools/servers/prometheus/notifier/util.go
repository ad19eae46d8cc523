package notifier

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// postableAlert is an alert as Alertmanager's API takes it.
type postableAlert struct {
	Annotations  map[string]string `json:"annotations"`
	Labels       map[string]string `json:"labels"`
	StartsAt     time.Time         `json:"startsAt,omitzero"`
	EndsAt       time.Time         `json:"endsAt,omitzero"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

func alertsToOpenAPIAlerts(alerts []*Alert) []postableAlert {
	out := make([]postableAlert, 0, len(alerts))
	for _, a := range alerts {
		out = append(out, postableAlert{
			Annotations: labelMap(a.Annotations), Labels: labelMap(a.Labels),
			StartsAt: a.StartsAt, EndsAt: a.EndsAt, GeneratorURL: a.GeneratorURL,
		})
	}
	return out
}

func labelMap(ls labels.Labels) map[string]string {
	out := map[string]string{}
	ls.Range(func(l labels.Label) { out[l.Name] = l.Value })
	return out
}
