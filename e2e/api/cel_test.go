package api_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// bases are valid specs, to which cases are merged.
var bases = map[string]string{
	"Canary": `
targetRef: {kind: Deployment, name: finch}
provider: gatewayapi
service: {port: 80, gatewayRefs: [{name: public}]}
analysis: {interval: 10s, threshold: 1}
`,
	"RouterDefinition": `
target: {apiVersion: example.org/v1, kind: Route, resource: routes, writes: [/spec/backends]}
weights: {fields: [{pointer: /spec/backends, value: self}]}
current: '{"primary": 100, "canary": 0}'
`,
	"MetricTemplate": `
provider: {type: prometheus}
query: up
`,
	"AlertProvider": `
type: slack
address: https://hooks.example.org/x
`,
	"GitSync": `
url: https://git.example.org/aviary
`,
}

// rules has, for every rule that needs more than one value to tell (CEL) or a form (pattern), what is accepted and what is refused.
var rules = []struct {
	kind, name, reason string
	accepted, refused  []string
	message            string
}{
	{
		kind: "RouterDefinition", name: "evidence", reason: "Without either a split would count as served when it is written.",
		accepted: []string{"settle: 5s", `status: {accepted: "true"}`, `{settle: 1m30s, status: {accepted: "true"}}`},
		refused:  []string{"{}"},
		message:  "nothing tells when the data plane follows: give status.accepted, or settle",
	},
	{
		kind: "RouterDefinition", name: "settle", reason: "It is a duration.",
		accepted: []string{"settle: 500ms"}, refused: []string{`settle: "5"`, "settle: 5d", `settle: ""`},
		message: "spec.settle in body should match",
	},
	{
		kind: "RouterDefinition", name: "groups", reason: "A definition must not write workloads, rights or Siskin's own objects.",
		accepted: []string{"{settle: 5s, target: {apiVersion: apps.example.org/v1}}"},
		refused: []string{
			"{settle: 5s, target: {apiVersion: apps/v1}}", "{settle: 5s, target: {apiVersion: siskin.dev/v1}}",
			"{settle: 5s, target: {apiVersion: rbac.authorization.k8s.io/v1}}",
		},
		message: "objects of this group are no routes",
	},
	{
		kind: "RouterDefinition", name: "apiVersion", reason: "The core group has no routes.",
		accepted: []string{"settle: 5s"}, refused: []string{"{settle: 5s, target: {apiVersion: v1}}", "{settle: 5s, target: {apiVersion: A/v1}}"},
		message: "spec.target.apiVersion in body should match",
	},
	{
		kind: "RouterDefinition", name: "kind", reason: "It is a kind.",
		accepted: []string{"settle: 5s"}, refused: []string{"{settle: 5s, target: {kind: route}}"},
		message: "spec.target.kind in body should match",
	},
	{
		kind: "RouterDefinition", name: "resource", reason: "RBAC knows plural names in lower case.",
		accepted: []string{"settle: 5s"}, refused: []string{"{settle: 5s, target: {resource: Routes}}", "{settle: 5s, target: {resource: '*'}}"},
		message: "spec.target.resource in body should match",
	},
	{
		kind: "RouterDefinition", name: "sum", reason: "A percentage that is no whole weight would be another percentage.",
		accepted: []string{"{settle: 5s, weights: {sum: 65500}}"}, refused: []string{"{settle: 5s, weights: {sum: 256}}"},
		message: "sum must be a multiple of 100, so that every whole percentage is a whole weight",
	},
	{
		kind: "RouterDefinition", name: "audience", reason: "An audience by nothing is everybody.",
		accepted: []string{"{settle: 5s, audience: {headers: [Exact], fields: [{pointer: /spec/backends, value: self}]}}"},
		refused:  []string{"{settle: 5s, audience: {fields: [{pointer: /spec/backends, value: self}]}}"},
		message:  "nothing can be selected by: give headers or cookies",
	},
	{
		kind: "RouterDefinition", name: "fixtures", reason: "A fixture that expects nothing shows nothing.",
		accepted: []string{"{settle: 5s, fixtures: [{name: a, object: {}, evidence: Written}]}", "{settle: 5s, fixtures: [{name: a, object: {}, expected: {}}]}"},
		refused:  []string{"{settle: 5s, fixtures: [{name: a, object: {}}]}"},
		message:  "nothing is expected: give expected or evidence",
	},
	{
		kind: "Canary", name: "ways to release", reason: "Weights and iterations exclude each other, and so do two ways to give weights.",
		accepted: []string{
			"analysis: {stepWeight: 10}", "analysis: {stepWeights: [10, 20]}", "analysis: {iterations: 3}",
			"analysis: {steps: [{weight: 10, interval: 30s}, {pause: {}}, {weight: 100, pause: {duration: 10m}}]}",
		},
		refused: []string{
			"analysis: {stepWeight: 10, iterations: 3}", "analysis: {stepWeights: [10], iterations: 3}",
			"analysis: {stepWeight: 10, stepWeights: [10]}", "analysis: {stepWeight: 10, steps: [{weight: 10}]}",
		},
		message: "give one of iterations, stepWeight, stepWeights, steps",
	},
	{
		kind: "Canary", name: "repeated weights", reason: "A weight that is given twice would be a step that changes nothing.",
		accepted: []string{"analysis: {stepWeights: [1, 2, 100]}"}, refused: []string{"analysis: {stepWeights: [10, 10, 20]}"},
		message: "stepWeights must not repeat a weight",
	},
	{
		kind: "Canary", name: "rising weights", reason: "Traffic only rises during a rollout.",
		accepted: []string{"analysis: {stepWeights: [5, 50, 95]}"}, refused: []string{"analysis: {stepWeights: [20, 10]}"},
		message: "stepWeights must rise",
	},
	{
		kind: "Canary", name: "weights of steps", reason: "Traffic only rises during a rollout. A step without a weight has that of the step before.",
		accepted: []string{"analysis: {steps: [{weight: 10}, {weight: 10}, {pause: {}}, {weight: 50}]}", "analysis: {steps: [{}, {weight: 100}]}"},
		refused:  []string{"analysis: {steps: [{weight: 20}, {weight: 10}]}", "analysis: {steps: [{weight: 20}, {}, {weight: 10}]}"},
		message:  "the weights of steps must not fall",
	},
	{
		kind: "Canary", name: "maxWeight", reason: "The first step must not be beyond the last.",
		accepted: []string{"analysis: {stepWeight: 10, maxWeight: 10}"}, refused: []string{"analysis: {stepWeight: 20, maxWeight: 10}"},
		message: "stepWeight must not be larger than maxWeight",
	},
	{
		kind: "Canary", name: "provider kubernetes", reason: "A Service cannot split traffic by weight.",
		accepted: []string{"{provider: kubernetes, analysis: {iterations: 2}}", "{provider: kubernetes, skipAnalysis: true}"},
		refused:  []string{"{provider: kubernetes, analysis: {stepWeight: 10}}"},
		message:  "provider kubernetes cannot split traffic by weight: use analysis.iterations (blue/green)",
	},
	{
		kind: "Canary", name: "threshold of a metric", reason: "A metric without a limit judges nothing.",
		accepted: []string{"analysis: {metrics: [{name: m, threshold: 99}]}", "analysis: {metrics: [{name: m, thresholdRange: {min: 99}}]}"},
		refused:  []string{"analysis: {metrics: [{name: m}]}"},
		message:  "give thresholdRange with min, max or both",
	},
	{
		kind: "Canary", name: "empty range", reason: "A range without limits judges nothing.",
		accepted: []string{"analysis: {metrics: [{name: m, thresholdRange: {max: 0}}]}"},
		refused:  []string{"analysis: {metrics: [{name: m, thresholdRange: {}}]}"},
		message:  "give min, max or both",
	},
	{
		kind: "Canary", name: "turned range", reason: "A range in which no value is good would fail every release.",
		accepted: []string{"analysis: {metrics: [{name: m, thresholdRange: {min: 1, max: 1}}]}"},
		refused:  []string{"analysis: {metrics: [{name: m, thresholdRange: {min: 2, max: 1}}]}"},
		message:  "min must not be larger than max",
	},
	{
		kind: "Canary", name: "string match", reason: "A match is of one kind.",
		accepted: []string{"service: {match: [{uri: {prefix: /a}}]}", "service: {match: [{headers: {x: {regex: a.*}}}]}"},
		refused:  []string{"service: {match: [{uri: {prefix: /a, exact: /a}}]}", "service: {match: [{uri: {}}]}"},
		message:  "give exactly one of exact, prefix, suffix, regex",
	},
	{
		kind: "Canary", name: "what provider kubernetes cannot", reason: "A Service selects pods, not requests.",
		accepted: []string{"{provider: kubernetes, analysis: {iterations: 2, mirror: false}}"},
		refused: []string{
			"{provider: kubernetes, analysis: {iterations: 2, match: [{headers: {x: {exact: v}}}]}}", "{provider: kubernetes, analysis: {iterations: 2, mirror: true}}",
		},
		message: "provider kubernetes cannot select requests, mirror or keep sessions",
	},
	{
		kind: "Canary", name: "target Service", reason: "The apex of provider kubernetes is the user's own Service.",
		accepted: []string{"{targetRef: {kind: Service}, analysis: {stepWeight: 10}}"},
		refused:  []string{"{targetRef: {kind: Service}, provider: kubernetes, analysis: {iterations: 2}}"},
		message:  "a target of kind Service needs a provider that routes between Services",
	},
	{
		kind: "Canary", name: "autoscaler of a DaemonSet", reason: "A DaemonSet has as many pods as there are nodes.",
		accepted: []string{"{targetRef: {kind: StatefulSet}, autoscalerRef: {kind: HorizontalPodAutoscaler, name: finch}}"},
		refused:  []string{"{targetRef: {kind: DaemonSet}, autoscalerRef: {kind: HorizontalPodAutoscaler, name: finch}}"},
		message:  "only a Deployment or a StatefulSet has an autoscaler: leave autoscalerRef out",
	},
	{
		kind: "Canary", name: "size of a DaemonSet", reason: "A DaemonSet has as many pods as there are nodes.",
		accepted: []string{"{targetRef: {kind: StatefulSet}, analysis: {canaryReplicas: 1}}"},
		refused:  []string{"{targetRef: {kind: DaemonSet}, analysis: {canaryReplicas: 1}}"},
		message:  "only a Deployment or a StatefulSet has a number of replicas: leave analysis.canaryReplicas out",
	},
	{
		kind: "Canary", name: "limits of an autoscaler", reason: "No number of pods would do.",
		accepted: []string{"autoscalerRef: {kind: ScaledObject, name: f, primaryScalerReplicas: {minReplicas: 2, maxReplicas: 2}, canary: {maxReplicas: 2}}"},
		refused: []string{
			"autoscalerRef: {kind: ScaledObject, name: f, primaryScalerReplicas: {minReplicas: 3, maxReplicas: 2}}",
			"autoscalerRef: {kind: ScaledObject, name: f, canary: {minReplicas: 3, maxReplicas: 2}}",
		},
		message: "minReplicas must not be larger than maxReplicas",
	},
	{
		kind: "Canary", name: "affinity without weights", reason: "There is no share that a user could be drawn into.",
		accepted: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: v, secure: true, sameSite: None, partitioned: true, domain: example.org, path: /shop}}"},
		refused:  []string{"analysis: {iterations: 3, sessionAffinity: {cookieName: v}}"},
		message:  "sessionAffinity needs weights: iterations send either nobody or everybody to the new version",
	},
	{
		kind: "Canary", name: "two cookies of one name", reason: "A browser keeps one of them.",
		accepted: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: v, primaryCookieName: w}}"},
		refused:  []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: v, primaryCookieName: v}}"},
		message:  "primaryCookieName must differ from cookieName",
	},
	{
		kind: "Canary", name: "sameSite", reason: "The cookie would be dropped, silently.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: v, sameSite: None}}"},
		message: "browsers take SameSite=None only with secure: true",
	},
	{
		kind: "Canary", name: "partitioned", reason: "The cookie would be dropped, silently.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: v, partitioned: true}}"},
		message: "browsers take partitioned cookies only with secure: true",
	},
	{
		kind: "Canary", name: "cookieName", reason: "It is written into a header and a regular expression.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: 'a b'}}"}, message: "spec.analysis.sessionAffinity.cookieName",
	},
	{
		kind: "Canary", name: "primaryCookieName", reason: "It is written into a header and a regular expression.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: a, primaryCookieName: 'a;b'}}"}, message: "spec.analysis.sessionAffinity.primaryCookieName",
	},
	{
		kind: "Canary", name: "domain of a cookie", reason: "It is written into a header.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: a, domain: 'a; Path=/'}}"}, message: "spec.analysis.sessionAffinity.domain",
	},
	{
		kind: "Canary", name: "path of a cookie", reason: "It is written into a header.",
		refused: []string{"analysis: {stepWeight: 10, sessionAffinity: {cookieName: a, path: '/;x'}}"}, message: "spec.analysis.sessionAffinity.path",
	},
	{
		kind: "Canary", name: "mirror and match", reason: "Who matches gets the new version's answers, nobody's requests are copied.",
		accepted: []string{"analysis: {iterations: 3, match: [{cookies: {beta: {exact: always}}}]}", "analysis: {stepWeight: 10, mirror: true, match: [{headers: {x: {suffix: v}}}]}"},
		refused:  []string{"analysis: {iterations: 3, mirror: true, match: [{headers: {x: {exact: v}}}]}"},
		message:  "an A/B test has no mirrored step: leave mirror or match out",
	},
	{
		kind: "Canary", name: "bake", reason: "A bake takes time.",
		accepted: []string{"analysis: {stepWeight: 10, bake: {duration: 10m}}"}, refused: []string{"analysis: {stepWeight: 10, bake: {duration: 1ms}}"},
		message: "duration must be at least 1s",
	},
	{
		kind: "Canary", name: "form of a bake", reason: "A duration has a unit.",
		refused: []string{"analysis: {stepWeight: 10, bake: {duration: long}}"}, message: "spec.analysis.bake.duration",
	},
	{
		kind: "Canary", name: "interval of a step", reason: "A duration has a unit.",
		refused: []string{"analysis: {steps: [{weight: 1, interval: '5'}]}"}, message: "spec.analysis.steps[0].interval",
	},
	{
		kind: "Canary", name: "pause of a step", reason: "A duration has a unit.",
		refused: []string{"analysis: {steps: [{weight: 1, pause: {duration: '5'}}]}"}, message: "spec.analysis.steps[0].pause.duration",
	},
	{
		kind: "Canary", name: "interval", reason: "A duration has a unit.",
		accepted: []string{"analysis: {interval: 1m30s}", "analysis: {interval: 1500ms}"}, refused: []string{"analysis: {interval: '60'}", "analysis: {interval: soon}"},
		message: "spec.analysis.interval",
	},
	{
		kind: "Canary", name: "interval of a metric", reason: "A duration has a unit.",
		accepted: []string{"analysis: {metrics: [{name: m, threshold: 1, interval: 1m}]}"}, refused: []string{"analysis: {metrics: [{name: m, threshold: 1, interval: '1'}]}"},
		message: "spec.analysis.metrics[0].interval",
	},
	{
		kind: "Canary", name: "timeout of a webhook", reason: "A duration has a unit.",
		accepted: []string{"analysis: {webhooks: [{name: w, url: http://w, timeout: 5s}]}"}, refused: []string{"analysis: {webhooks: [{name: w, url: http://w, timeout: five}]}"},
		message: "spec.analysis.webhooks[0].timeout",
	},
	{
		kind: "Canary", name: "url of a webhook", reason: "Webhooks speak HTTP.",
		accepted: []string{"analysis: {webhooks: [{name: w, url: https://w}]}"}, refused: []string{"analysis: {webhooks: [{name: w, url: ftp://w}]}", "analysis: {webhooks: [{name: w, url: w}]}"},
		message: "spec.analysis.webhooks[0].url",
	},
	{
		kind: "Canary", name: "canaryReplicas", reason: "A size is a number or a percentage.",
		accepted: []string{"analysis: {canaryReplicas: 2}", "analysis: {canaryReplicas: 50%}"}, refused: []string{"analysis: {canaryReplicas: half}"},
		message: "spec.analysis.canaryReplicas",
	},
	{
		kind: "Canary", name: "metricsServer", reason: "Prometheus speaks HTTP.",
		accepted: []string{"metricsServer: http://prometheus:9090"}, refused: []string{"metricsServer: prometheus:9090"},
		message: "spec.metricsServer",
	},
	{
		kind: "Canary", name: "timeouts of the route", reason: "A duration has a unit.",
		accepted: []string{"service: {timeout: 15s, backendTimeout: 5s}"}, refused: []string{"service: {timeout: '15'}"},
		message: "spec.service.timeout",
	},
	{
		kind: "Canary", name: "timeout of a try", reason: "A duration has a unit.",
		accepted: []string{"service: {retries: {attempts: 3, perTryTimeout: 2s}}"},
		refused:  []string{"service: {retries: {perTryTimeout: '2'}}"}, message: "spec.service.retries.perTryTimeout",
	},
	{
		kind: "Canary", name: "age of a CORS policy", reason: "A duration has a unit.",
		accepted: []string{"service: {corsPolicy: {maxAge: 24h}}"},
		refused:  []string{"service: {corsPolicy: {maxAge: day}}"}, message: "spec.service.corsPolicy.maxAge",
	},
	{
		kind: "Canary", name: "backendTimeout", reason: "A duration has a unit.",
		accepted: []string{"service: {backendTimeout: 500ms}"}, refused: []string{"service: {backendTimeout: fast}"},
		message: "spec.service.backendTimeout",
	},
	{
		kind: "AlertProvider", name: "address", reason: "A notice needs a place to go.",
		accepted: []string{"{address: null, secretRef: {name: slack}}"}, refused: []string{"{address: null}"},
		message: "give address or secretRef",
	},
	{
		kind: "GitSync", name: "form of the url", reason: "Anything else fails later, and less clearly.",
		accepted: []string{"url: ssh://git@git.example.org/aviary", "url: git@git.example.org:aviary", "url: file:///srv/aviary", "url: http://git/aviary.git"},
		refused:  []string{"url: git.example.org/aviary", "url: 'https://git.example.org/a b'", "url: ftp://git.example.org/aviary"},
		message:  "url must look like https://host/path, ssh://git@host/path, git@host:path or file:///path",
	},
	{
		kind: "GitSync", name: "credentials in the url", reason: "A spec is no place for a secret.",
		accepted: []string{"url: ssh://git@git.example.org/aviary"},
		refused:  []string{"url: https://ann:secret@git.example.org/aviary", "url: ssh://git:secret@git.example.org/aviary"},
		message:  "url must not hold credentials: put them into the Secret that secretRef names",
	},
	{
		kind: "GitSync", name: "path", reason: "A path must not leave the repository.",
		accepted: []string{"path: ./apps/shop", "path: apps..old"}, refused: []string{"path: /etc", "path: apps/../../etc"},
		message: "path must be relative to the repository's root and must not contain ..",
	},
	{
		kind: "GitSync", name: "interval", reason: "Nobody's git server wants more than one look a second.",
		accepted: []string{"interval: 1s"}, refused: []string{"interval: 999ms"}, message: "interval must be at least 1s",
	},
	{
		kind: "GitSync", name: "form of the interval", reason: "A duration has a unit.",
		accepted: []string{"interval: 1.5m"}, refused: []string{"interval: '60'"}, message: "spec.interval",
	},
	{
		kind: "GitSync", name: "timeout", reason: "A fetch takes time.",
		accepted: []string{"timeout: 2s"}, refused: []string{"timeout: 1ms"}, message: "timeout must be at least 1s",
	},
	{
		kind: "GitSync", name: "form of the timeout", reason: "A duration has a unit.",
		accepted: []string{"timeout: 1m"}, refused: []string{"timeout: long"}, message: "spec.timeout",
	},
	{
		kind: "GitSync", name: "tag or commit", reason: "A tag and a commit may disagree.",
		accepted: []string{"ref: {tag: v1}", "ref: {commit: 0123456789abcdef0123456789abcdef01234567}"},
		refused:  []string{"ref: {tag: v1, commit: 0123456789abcdef0123456789abcdef01234567}"}, message: "give tag or commit, not both",
	},
	{
		kind: "GitSync", name: "form of the commit", reason: "A short hash may become ambiguous.",
		accepted: []string{"ref: {commit: 0123456789abcdef0123456789abcdef01234567}"}, refused: []string{"ref: {commit: 0123456}"}, message: "spec.ref.commit",
	},
	{
		kind: "GitSync", name: "form of the branch", reason: "Git has no such names.",
		accepted: []string{"ref: {branch: release/1.x}"}, refused: []string{"ref: {branch: 'a b'}"}, message: "spec.ref.branch",
	},
	{
		kind: "GitSync", name: "form of the tag", reason: "Git has no such names.",
		accepted: []string{"ref: {tag: v1.2.3}"}, refused: []string{"ref: {tag: 'v1^2'}"}, message: "spec.ref.tag",
	},
	{
		kind: "GitSync", name: "targetNamespace", reason: "It must be a name that a namespace can have.",
		accepted: []string{"targetNamespace: shop"}, refused: []string{"targetNamespace: Shop"}, message: "spec.targetNamespace",
	},
}

// TestRules : every rule accepts what it should and refuses the rest with words that help.
func TestRules(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	for _, c := range rules {
		t.Run(c.kind+" "+c.name, func(t *testing.T) {
			for _, patch := range c.accepted {
				if err := try(t, e.API, ns, c.kind, merged(t, bases[c.kind], patch)); err != nil {
					t.Errorf("%s is refused: %v", patch, err)
				}
			}
			for _, patch := range c.refused {
				err := try(t, e.API, ns, c.kind, merged(t, bases[c.kind], patch))
				if err == nil {
					t.Errorf("%s is accepted. %s", patch, c.reason)
				} else if !strings.Contains(err.Error(), c.message) {
					t.Errorf("%s: the message does not say %q: %v", patch, c.message, err)
				}
			}
		})
	}
}

// TestTargetRefIsImmutable : a Canary that changed its target would leave the old one at zero.
func TestTargetRefIsImmutable(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	// Suspended: Siskin is not to do anything for it.
	obj := object(t, ns, "Canary", merged(t, bases["Canary"], "{suspend: true, analysis: {stepWeight: 10}}"))
	if err := e.API.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	patch := func(spec string) error {
		return e.API.Patch(t.Context(), obj.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`)))
	}
	if err := patch(`{"analysis":{"threshold":5}}`); err != nil {
		t.Errorf("an edit of something else is refused: %v", err)
	}
	const message = "targetRef cannot be changed: delete the Canary (the target is restored) and create a new one"
	if err := patch(`{"targetRef":{"name":"other"}}`); err == nil || !strings.Contains(err.Error(), message) {
		t.Errorf("got %v, not %q", err, message)
	}
}

// TestTheRouteStaysWhereItIs : a Canary that changed its provider or its apex would leave a route behind that still sends traffic to
// the canary. Before Siskin routes anything, both may be corrected.
func TestTheRouteStaysWhereItIs(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	obj := object(t, ns, "Canary", merged(t, bases["Canary"], "{suspend: true, analysis: {stepWeight: 10}}"))
	if err := e.API.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	const renamed, rerouted = `{"spec":{"service":{"name":"other"}}}`, `{"spec":{"provider":"gatewayapi:v1"}}`
	patch := func(body string) error {
		return e.API.Patch(t.Context(), obj.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(body)))
	}
	for _, body := range []string{renamed, rerouted} {
		if err := patch(body); err != nil {
			t.Errorf("%s is refused before anything is routed: %v", body, err)
		}
	}
	serving := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"canaryWeight":0,"failedChecks":0,"stable":{"revision":"finch-1"}}}`))
	if err := e.API.Status().Patch(t.Context(), obj.DeepCopy(), serving); err != nil {
		t.Fatal(err)
	}
	for body, message := range map[string]string{
		`{"spec":{"service":{"name":"third"}}}`: "service.name cannot be changed while Siskin routes the traffic",
		`{"spec":{"service":{"name":null}}}`:    "service.name cannot be changed while Siskin routes the traffic",
		`{"spec":{"provider":"kubernetes"}}`:    "provider cannot be changed while Siskin routes the traffic",
		`{"spec":{"provider":"gatewayapi:v2"}}`: "provider cannot be changed while Siskin routes the traffic",
		`{"spec":{"provider":null}}`:            "provider cannot be changed while Siskin routes the traffic",
	} {
		if err := patch(body); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: got %v, not %q", body, err, message)
		}
	}
	for _, body := range []string{
		`{"spec":{"analysis":{"threshold":5}}}`, `{"spec":{"provider":"gatewayapi"}}`, `{"spec":{"provider":"gatewayapi:v1beta1"}}`,
	} {
		if err := patch(body); err != nil {
			t.Errorf("an edit that moves nothing is refused: %v", err)
		}
	}
}

// TestEveryRuleHasACase : a rule that is added gets a case.
func TestEveryRuleHasACase(t *testing.T) {
	messages := []string{"targetRef cannot be changed: delete the Canary (the target is restored) and create a new one"}
	for _, c := range rules {
		messages = append(messages, c.message)
	}
	told := strings.Join(messages, "\n")
	for kind, schema := range schemas(t) {
		walk(kind, "spec", schema.Properties["spec"], func(path string, s node) {
			for _, rule := range s.XValidations {
				if !foreign(path) && !strings.Contains(told, rule.Message) && !begins(told, rule.Message) {
					t.Errorf("%s.%s: no case for %q", kind, path, rule.Message)
				}
			}
			if s.Pattern != "" && !foreign(path) && !strings.Contains(told, strings.ReplaceAll(path, "[]", "[0]")) {
				t.Errorf("%s.%s: no case for its pattern %s", kind, path, s.Pattern)
			}
		})
	}
}

// begins tells whether a line of told is the beginning of a message.
func begins(told, message string) bool {
	for line := range strings.Lines(told) {
		if line = strings.TrimSpace(line); len(line) > 20 && strings.HasPrefix(message, line) {
			return true
		}
	}
	return false
}

// try creates an object without storing it.
func try(t *testing.T, c client.Client, namespace, kind string, spec map[string]any) error {
	t.Helper()
	return c.Create(t.Context(), object(t, namespace, kind, spec), client.DryRunAll)
}

func object(t *testing.T, namespace, kind string, spec map[string]any) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "siskin.dev/v1", "kind": kind, "spec": spec,
		"metadata": map[string]any{"name": "finch"},
	}}
	if kind != "RouterDefinition" { // which has no namespace
		u.SetNamespace(namespace)
	}
	return u
}

// merged parses a spec and merges a patch into it, where null deletes.
func merged(t *testing.T, base, patch string) map[string]any {
	t.Helper()
	into, from := parsed(t, base), parsed(t, patch)
	merge(into, from)
	return into
}

func merge(into, from map[string]any) {
	for key, value := range from {
		if value == nil {
			delete(into, key)
			continue
		}
		below, ok := value.(map[string]any)
		if old, both := into[key].(map[string]any); ok && both {
			merge(old, below)
			continue
		}
		into[key] = value
	}
}

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", text, err))
	}
	return out
}
