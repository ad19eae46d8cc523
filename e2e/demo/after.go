package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// collect completes the facts at the end of the story.
func (d *demo) collect(ctx context.Context, f *facts) {
	s := d.watch.now()
	f.Slack = s.slack
	f.Users, f.Faults = d.users.seen()
	for _, t := range f.Users {
		if t.Version == f.Bad.Version {
			f.Bad.LastSeen = t.Last
		}
	}
	for _, e := range s.events {
		if strings.HasPrefix(e.Text, "RollingBack: ") {
			f.Bad.DecidedAt = e.At
		}
	}
	if s.canary != nil {
		st := s.canary.Status
		if st.Stable != nil {
			f.Stable = st.Stable.Commit
		}
		if st.Canary != nil {
			f.Bad.StatusCommit, f.Bad.StatusAuthor = st.Canary.Commit, st.Canary.Author
		}
	}
	f.Gateway = d.gatewayCounts(ctx)
}

// gatewayCounts asks Prometheus for Traefik's counters of both Services.
func (d *demo) gatewayCounts(ctx context.Context) map[string]map[string]int {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	query := `sum by (service, code) (traefik_service_requests_total{service=~"httproute-` + namespace + `-.*"})`
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.cluster.PrometheusURL()+"/api/v1/query?query="+url.QueryEscape(query), http.NoBody)
	if err != nil {
		return nil
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return nil
	}
	out := map[string]map[string]int{}
	service := regexp.MustCompile(`-svc-` + namespace + `-(.+)-[0-9]+@`)
	for _, r := range answer.Data.Result {
		m := service.FindStringSubmatch(r.Metric["service"])
		text, _ := r.Value[1].(string)
		n, err := strconv.ParseFloat(text, 64)
		if m == nil || err != nil {
			continue
		}
		if out[m[1]] == nil {
			out[m[1]] = map[string]int{}
		}
		out[m[1]][r.Metric["code"]] += int(n)
	}
	return out
}

// stay goes on until the end of ctx. Return changes between the live view and how to look behind the scenes.
func (d *demo) stay(ctx context.Context) {
	d.screen.print(d.howTo())
	if !d.screen.terminal() {
		<-ctx.Done()
		return
	}
	pressed := returns(d.input)
	for {
		d.screen.print("\nReturn: the live view   Ctrl-C: stop\n")
		select {
		case <-ctx.Done():
			return
		case <-pressed:
		}
		if !d.live(ctx, pressed) {
			return
		}
		d.screen.print(d.howTo())
	}
}

// live shows the view until Return is pressed; it returns false at the end of ctx.
func (d *demo) live(ctx context.Context, pressed <-chan struct{}) bool {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		d.draw()
		select {
		case <-ctx.Done():
			return false
		case <-pressed:
			return true
		case <-tick.C:
		}
	}
}

// howTo tells how to go on.
func (d *demo) howTo() string {
	cache := os.Getenv("SISKIN_CACHE")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache", "siskin")
	}
	graph := d.cluster.PrometheusURL() + "/query?g0.tab=0&g0.range_input=5m&g0.expr=" +
		url.QueryEscape(`sum by (service, code) (rate(traefik_service_requests_total{service=~"httproute-`+namespace+`-.*"}[10s]))`)
	return fmt.Sprintf(`
The cluster stays up, the users go on at %[1]d requests per second. In another terminal:

  export KUBECONFIG=%[2]s PATH=%[3]s:$PATH
  kubectl -n %[4]s get canary,gitsync
  kubectl -n %[4]s describe canary %[5]s
  kubectl -n %[4]s get events --watch

git still has v3; the rollback was in the cluster only. Take it out of git, or commit a version of your own:

  git clone %[6]s && cd %[5]s
  git revert --no-edit HEAD && git push
  sed -i 's/v2 good/v4 mine/' deploy/deployment.yaml && git commit -am 'Greet the users with v4' && git push

The app         curl -H 'Host: %[7]s' %[8]s/
Prometheus      %[9]s
Slack           tail -f %[10]s
Siskin's log    kubectl -n siskin-system logs deployment/siskin --follow
`, d.o.rate, d.cluster.Kubeconfig(), filepath.Join(cache, "bin"), namespace, app, d.cluster.GitURL(app), host, d.cluster.GatewayURL(), graph,
		slackLog(d.cluster))
}

// whatHappened is what helps to understand a demo that went wrong.
func (d *demo) whatHappened() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "deployments,pods,services,httproutes,canaries,gitsyncs", "-n", namespace, "-o", "wide"},
		{"describe", "canaries,gitsyncs", "-n", namespace},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
	} {
		out, err := d.cluster.Kubectl(ctx, args...)
		if err != nil {
			out = err.Error() + "\n"
		}
		fmt.Fprintf(&b, "\n--- kubectl %s\n%s", strings.Join(args, " "), out)
	}
	if d.env != nil {
		fmt.Fprintf(&b, "\n--- the end of Siskin's log\n%s\n", d.env.SiskinLog(30))
	}
	return b.String()
}
