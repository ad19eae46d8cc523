package upgrade

import (
	"fmt"
	"strings"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// state is one that an upgrade may find a Canary in, and what becomes of it afterwards.
type state struct {
	// name of the state and of the app, which is of version 1.0.0 at first.
	name string
	app  fixtures.App
	// beside is what the app needs, applied before it.
	beside func(app string) string
	// edit makes more of the app's manifest.
	edit func(manifest string) string
	// busy is the load of the app's pods, in thousandths of a CPU.
	busy int
	// blueGreen tells that the Service is switched, without a gateway.
	blueGreen bool
	// analysis of the Canary, without its webhooks, and further lines of its spec.
	analysis, spec []string
	// hooks are the types of its webhooks; those of refused say no.
	hooks, refused []string
	// released tells that version 1.1.0 is committed, which leads to reached.
	released bool
	reached  check
	// then is done, once that is reached, and leads to until.
	then  act
	until check
	// after is done when the new version of Siskin runs, and leads to ends.
	after act
	ends  check
}

// Intervals. A step that is to last longer than the test is a long one.
const (
	soon  = "interval: 1s"
	long  = "interval: 1h"
	steps = "stepWeights: [20, 50]"
)

// states are all of them.
func states() []state {
	var out []state
	for _, list := range [][]state{resting(), waiting(), onTrial(), strategies(), targets()} {
		out = append(out, list...)
	}
	return out
}

// resting are Canaries with no rollout.
func resting() []state {
	succeeded := phase(siskinv1.PhaseSucceeded)
	return []state{
		{name: "fresh", analysis: []string{soon, steps}, reached: phase(siskinv1.PhaseInitialized), after: releases("1.1.0"), ends: promoted("1.1.0")},
		{name: "promoted", analysis: []string{soon, steps}, released: true, reached: succeeded, after: releases("1.2.0"), ends: promoted("1.2.0")},
		{
			name: "failed", analysis: []string{soon, steps}, hooks: []string{"rollout"}, refused: []string{"rollout"}, released: true,
			reached: phase(siskinv1.PhaseFailed), after: both(answers("rollout", fixtures.Yes), releases("1.2.0")), ends: promoted("1.2.0"),
		},
		{ // a person went back, and the target still says what is not wanted
			name: "gone-back", analysis: []string{soon, steps}, released: true, reached: succeeded,
			then: asks("rollback@1"), until: promoted("1.0.0"), after: asks("retry@2"), ends: promoted("1.1.0"),
		},
		{
			name: "switched", app: fixtures.App{Replicas: 2}, beside: service, blueGreen: true, analysis: []string{soon, "iterations: 1"},
			released: true, reached: succeeded, after: releases("1.2.0"), ends: promoted("1.2.0"),
		},
		{
			name: "configured", beside: settings("green"), edit: readsSettings, analysis: []string{soon, steps}, reached: phase(siskinv1.PhaseInitialized),
			after: func(s *story) { s.Apply(settings("blue")(s.App.Name)) }, ends: all(phase(siskinv1.PhaseSucceeded), rollout(1)),
		},
		{
			name: "baking", analysis: []string{soon, "stepWeights: [50]", "bake: {duration: 2h}"}, hooks: []string{"rollback"}, refused: []string{"rollback"},
			released: true, reached: phase(siskinv1.PhaseBaking), then: patches(`{"analysis": {"interval": "1h"}}`),
			after: both(answers("rollback", fixtures.Yes), patches(`{"analysis": {"interval": "1s"}}`)), ends: takenBack,
		},
	}
}

// waiting are rollouts that wait for somebody.
func waiting() []state {
	return []state{
		{
			name: "waiting", analysis: []string{soon, steps}, hooks: []string{"confirm-rollout"}, refused: []string{"confirm-rollout"}, released: true,
			reached: phase(siskinv1.PhaseWaiting), after: answers("confirm-rollout", fixtures.Yes), ends: promoted("1.1.0"),
		},
		{ // it is judged once within the test, after the comparison
			name: "unconfirmed", analysis: []string{soon, steps}, hooks: []string{"confirm-promotion"}, refused: []string{"confirm-promotion"}, released: true,
			reached: phase(siskinv1.PhaseWaitingPromotion), then: patches(`{"analysis": {"interval": "100s"}}`),
			after: answers("confirm-promotion", fixtures.Yes), ends: promoted("1.1.0"),
		},
		{
			name: "frozen", analysis: []string{soon, steps, "onFailure: Freeze"}, hooks: []string{"rollout"}, refused: []string{"rollout"}, released: true,
			reached: phase(siskinv1.PhaseFrozen), after: asks("rollback@1"), ends: takenBack,
		},
		{
			name: "paused", analysis: []string{long, steps}, released: true, reached: weight(20), then: asks("pause@1"),
			until: paused(true), after: func(s *story) {
				asks("resume@2")(s)
				s.gets(time.Minute, paused(false))
				asks("promote@3")(s) // or the next check would lead on, in an hour
			},
			ends: promoted("1.1.0"),
		},
		{
			name: "pausing", analysis: []string{long, "steps: [{weight: 20, interval: 1s, pause: {duration: 2h}}, {weight: 50}]"}, released: true,
			reached: func(c *siskinv1.Canary) string {
				return unless(c.Status.Step != nil && c.Status.Step.PausedUntil != nil, "no pause")
			},
			then:  patches(`{"analysis": {"steps": [{"weight": 20, "interval": "1h", "pause": {"duration": "2h"}}, {"weight": 50}]}}`),
			after: asks("abort@1"), ends: takenBack,
		},
		{
			name: "suspended", analysis: []string{long, steps}, released: true, reached: weight(20), then: patches(`{"suspend": true}`),
			until: suspended, after: both(patches(`{"suspend": false}`), releases("1.0.0")), ends: phase(siskinv1.PhaseCancelled),
		},
		{ // a new revision is there, and its rollout has not begun
			name: "ahead", analysis: []string{soon, steps}, reached: phase(siskinv1.PhaseInitialized), then: func(s *story) {
				s.Patch(`{"suspend": true}`)
				s.gets(time.Minute, suspended)
				s.Release("1.1.0")
			},
			until: suspended, after: patches(`{"suspend": false}`), ends: promoted("1.1.0"),
		},
	}
}

// onTrial are rollouts in a step.
func onTrial() []state {
	return []state{
		{
			name: "midway", app: fixtures.App{Replicas: 2}, analysis: []string{long, steps}, released: true,
			reached: weight(20), after: releases("1.0.0"), ends: phase(siskinv1.PhaseCancelled),
		},
		{
			name: "scaled", app: fixtures.App{Replicas: 2}, beside: autoscaler, busy: 150, analysis: []string{long, steps}, released: true,
			spec:    []string{"autoscalerRef: {kind: HorizontalPodAutoscaler, name: scaled, canary: {minReplicas: 1, maxReplicas: 2}}"},
			reached: weight(20), after: asks("promote@1"), ends: promoted("1.1.0"),
		},
		{
			name: "woken", app: fixtures.App{Replicas: 2}, beside: scaledObject, analysis: []string{long, steps}, released: true,
			spec: []string{"autoscalerRef: {kind: ScaledObject, name: woken, canary: {minReplicas: 1, maxReplicas: 2}}"}, reached: weight(20),
			after: releases("1.0.0"), ends: phase(siskinv1.PhaseCancelled),
		},
	}
}

// strategies are rollouts in which more decides than weights.
func strategies() []state {
	match := "match: [{headers: {x-canary: {exact: insider}}}, {cookies: {canary: {exact: always}}}]"
	audience := func(c *siskinv1.Canary) string {
		return unless(c.Status.Split != nil && c.Status.Split.Audience, "no audience")
	}
	return []state{
		{ // in the second step, for which users of the first one are drawn
			name: "sticky", released: true,
			analysis: []string{
				long, "steps: [{weight: 20, interval: 1s}, {weight: 50}]", "sessionAffinity: {cookieName: shop-canary, primaryCookieName: shop-primary}",
			},
			reached: weight(50), after: asks("abort@1"), ends: takenBack,
		},
		{
			name: "selected", analysis: []string{long, "iterations: 3", match}, released: true, reached: audience,
			after: asks("promote@1"), ends: promoted("1.1.0"),
		},
		{
			name: "matched", analysis: []string{long, steps, match}, released: true, reached: all(audience, weight(20)),
			after: releases("1.0.0"), ends: phase(siskinv1.PhaseCancelled),
		},
		{
			name: "mirrored", analysis: []string{long, steps, "mirror: true", "mirrorWeight: 50"}, released: true,
			reached: func(c *siskinv1.Canary) string {
				return unless(c.Status.Split != nil && c.Status.Split.Mirror == 50, "no mirror")
			},
			after: asks("abort@1"), ends: takenBack,
		},
	}
}

// targets are rollouts of other kinds than Deployments.
func targets() []state {
	return []state{
		{
			name: "everywhere", app: fixtures.App{Kind: target.DaemonSet}, analysis: []string{long, steps}, released: true,
			reached: weight(20), after: asks("promote@1"), ends: promoted("1.1.0"),
		},
		{
			name: "stateful", app: fixtures.App{Kind: target.StatefulSet}, beside: headless, analysis: []string{long, steps}, released: true,
			reached: weight(20), after: asks("promote@1"), ends: promoted("1.1.0"),
		},
	}
}

func paused(want bool) check {
	return func(c *siskinv1.Canary) string {
		return unless(c.Status.Step != nil && c.Status.Step.Paused == want, fmt.Sprintf("paused is not %t", want))
	}
}

func suspended(c *siskinv1.Canary) string {
	return unless(strings.Contains(c.Status.Message, "suspended"), "not shown as suspended")
}

func service(app string) string { return fixtures.App{Name: app}.Service() }

// headless is the governing Service of a StatefulSet.
func headless(app string) string {
	return strings.Replace(strings.Replace(service(app), "name: "+app+"\n", "name: "+app+"-pods\n", 1), "\nspec:\n", "\nspec:\n  clusterIP: None\n", 1)
}

// settings are read by an app in every way that pods read configuration.
func settings(colour string) func(string) string {
	return func(string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: %s}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: value}
`, colour)
	}
}

func readsSettings(manifest string) string {
	return strings.Replace(manifest, "        env:\n", `        envFrom: [{configMapRef: {name: settings}}]
        volumeMounts: [{name: keys, mountPath: /etc/keys}]
        env:
`, 1) + "      volumes: [{name: keys, secret: {secretName: keys}}]\n"
}

func autoscaler(app string) string {
	return fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  minReplicas: 2
  maxReplicas: 4
  metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]
`, app)
}

func scaledObject(app string) string {
	return fmt.Sprintf(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {name: %[1]s}
  idleReplicaCount: 0
  maxReplicaCount: 5
  triggers: [{type: prometheus, metadata: {serverAddress: "http://prometheus", threshold: "100", query: 'sum(rate(requests{app="%[1]s"}[1m]))'}}]
`, app)
}
