package v1

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// CanaryAnalysis tells how a new version is released and judged. Weights (stepWeight, stepWeights or steps) select a canary
// release, iterations a blue/green release, iterations with match an A/B test.
//
// The rules of one field stand at the field: the API server evaluates all rules with each write, also of the status, and each field
// that a rule names costs it a copy of all the fields of the object that the rule stands at.
//
// +kubebuilder:validation:XValidation:rule="[has(self.iterations), has(self.stepWeight), has(self.stepWeights), has(self.steps)].filter(x, x).size() <= 1",message="give one of iterations, stepWeight, stepWeights, steps"
// +kubebuilder:validation:XValidation:rule="!has(self.sessionAffinity) || !has(self.iterations)",message="sessionAffinity needs weights: iterations send either nobody or everybody to the new version"
// +kubebuilder:validation:XValidation:rule="!(has(self.mirror) && self.mirror && has(self.match) && has(self.iterations))",message="an A/B test has no mirrored step: leave mirror or match out"
// +kubebuilder:validation:XValidation:rule="!has(self.stepWeight) || !has(self.maxWeight) || self.stepWeight <= self.maxWeight",message="stepWeight must not be larger than maxWeight"
type CanaryAnalysis struct {
	// interval is the least time that a step lasts; its checks run at the end of it. At least 1s. Default 1m.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms)){1,4}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="interval must be at least 1s"
	// +kubebuilder:default="1m"
	// +optional
	Interval string `json:"interval,omitempty"`

	// threshold is the number of failed checks, counted over the whole rollout, at which it is rolled back. Default 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Threshold int32 `json:"threshold,omitempty"`

	// maxWeight is the canary's largest share in percent. Default 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxWeight *int32 `json:"maxWeight,omitempty"`

	// stepWeight is what each step adds to the canary's share, in percent.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	StepWeight *int32 `json:"stepWeight,omitempty"`

	// stepWeights are the canary's shares step by step, in percent, rising.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=100
	// +kubebuilder:validation:XValidation:rule="self.all(i, self.exists_one(j, i == j))",message="stepWeights must not repeat a weight"
	// +kubebuilder:validation:XValidation:rule="self.isSorted()",message="stepWeights must rise"
	// +listType=atomic
	// +optional
	StepWeights []int32 `json:"stepWeights,omitempty"`

	// steps are the canary's shares step by step, each with its own interval and pause.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.filter(s, has(s.weight)).map(s, s.weight).isSorted()",message="the weights of steps must not fall"
	// +listType=atomic
	// +optional
	Steps []AnalysisStep `json:"steps,omitempty"`

	// stepWeightPromotion is what each step of the promotion gives back to the primary, in percent; 0 gives all back at
	// once. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	StepWeightPromotion int32 `json:"stepWeightPromotion,omitempty"`

	// iterations is the number of checks that the new version passes before all traffic is switched to it (blue/green).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Iterations *int32 `json:"iterations,omitempty"`

	// match selects the requests that go to the new version whatever the weights: by header, cookie, query parameter, path or method;
	// one of the entries must match. With iterations it is an A/B test: only these requests do, for so many checks.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Match []RequestMatch `json:"match,omitempty"`

	// mirror sends the new version copies of the primary's requests, whose answers nobody sees: for one step before the first
	// weight, or for all iterations of a blue/green release. The requests must be safe to be done twice. Default false.
	// +optional
	Mirror bool `json:"mirror,omitempty"`

	// mirrorWeight is the percentage of the requests that is mirrored. Default 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MirrorWeight *int32 `json:"mirrorWeight,omitempty"`

	// sessionAffinity keeps a user at the version that answered first, by a cookie.
	// +optional
	SessionAffinity *SessionAffinity `json:"sessionAffinity,omitempty"`

	// onFailure tells what happens when the failed checks reach the threshold. Rollback takes the new version back. Freeze leaves
	// the traffic where it is until a person decides (annotation siskin.dev/request: abort, retry, resume or promote); after
	// gateDeadlineSeconds the new version is taken back all the same. Default Rollback.
	// +kubebuilder:validation:Enum=Rollback;Freeze
	// +kubebuilder:default=Rollback
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`

	// bake goes on judging the new version by the metrics after its promotion, and returns to the previous one if it fails.
	// +optional
	Bake *Bake `json:"bake,omitempty"`

	// canaryReplicas sizes the canary: a number, or a percentage of the primary's size (rounded up). Default 100%.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%$`
	// +optional
	CanaryReplicas *intstr.IntOrString `json:"canaryReplicas,omitempty"`

	// primaryReadyThreshold is the percentage of the primary's pods that must be available. Default 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	PrimaryReadyThreshold *int32 `json:"primaryReadyThreshold,omitempty"`

	// canaryReadyThreshold is the percentage of the canary's pods that must be available. Default 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	CanaryReadyThreshold *int32 `json:"canaryReadyThreshold,omitempty"`

	// gateDeadlineSeconds bounds the wait for a gate (confirm-rollout, confirm-traffic-increase, confirm-promotion). When it
	// passes, the rollout is taken back. Default 604800, a week.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	// +optional
	GateDeadlineSeconds *int32 `json:"gateDeadlineSeconds,omitempty"`

	// noData tells what a check without data means: Hold waits for data until progressDeadlineSeconds has passed, Fail counts
	// a failed check, Pass takes it as passed. Default Hold.
	// +kubebuilder:validation:Enum=Hold;Fail;Pass
	// +kubebuilder:default=Hold
	// +optional
	NoData NoDataPolicy `json:"noData,omitempty"`

	// metrics are judged at the end of each step.
	// +kubebuilder:validation:MaxItems=50
	// +listType=map
	// +listMapKey=name
	// +optional
	Metrics []CanaryMetric `json:"metrics,omitempty"`

	// webhooks are gates and checks outside of the cluster's metrics.
	// +kubebuilder:validation:MaxItems=50
	// +listType=map
	// +listMapKey=name
	// +optional
	Webhooks []CanaryWebhook `json:"webhooks,omitempty"`

	// alerts tell people.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Alerts []CanaryAlert `json:"alerts,omitempty"`
}

// AnalysisStep is one step of a release. Weights rise from step to step, or stay.
type AnalysisStep struct {
	// weight is the canary's share in percent. Default: that of the step before; 0 in the first.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// interval is the least time that the step lasts; its checks run at the end of it. At least 1s. Default: analysis.interval.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms)){1,4}$`
	// +optional
	Interval string `json:"interval,omitempty"`
	// pause holds the rollout after the checks of the step have passed.
	// +optional
	Pause *StepPause `json:"pause,omitempty"`
}

// StepPause holds a rollout. While it lasts, checks go on once an interval.
type StepPause struct {
	// duration of the pause. Default: until a person resumes (annotation siskin.dev/request: resume), gateDeadlineSeconds at most.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms)){1,4}$`
	// +optional
	Duration string `json:"duration,omitempty"`
}

// SessionAffinity keeps a user at a version by a cookie. The cookie's value is new in each rollout, so that an old one counts for
// nothing.
//
// +kubebuilder:validation:XValidation:rule="!has(self.primaryCookieName) || self.primaryCookieName != self.cookieName",message="primaryCookieName must differ from cookieName"
// +kubebuilder:validation:XValidation:rule="!has(self.sameSite) || self.sameSite != 'None' || (has(self.secure) && self.secure)",message="browsers take SameSite=None only with secure: true"
// +kubebuilder:validation:XValidation:rule="!has(self.partitioned) || !self.partitioned || (has(self.secure) && self.secure)",message="browsers take partitioned cookies only with secure: true"
type SessionAffinity struct {
	// cookieName is the name of the cookie of users of the canary.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	CookieName string `json:"cookieName"`
	// primaryCookieName is the name of the cookie of users of the primary, which keeps them there until the next step. Default:
	// they are drawn anew with each request.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	// +kubebuilder:validation:MaxLength=64
	// +optional
	PrimaryCookieName string `json:"primaryCookieName,omitempty"`
	// maxAge of the cookies in seconds. A rollout should not last longer. Default 86400, a day.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	// +optional
	MaxAge *int32 `json:"maxAge,omitempty"`
	// domain of the cookies. Default: the host that was asked.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9.-]+$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Domain string `json:"domain,omitempty"`
	// path of the cookies. Default "/".
	// +kubebuilder:validation:Pattern=`^/[^;,\s]*$`
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Path string `json:"path,omitempty"`
	// httpOnly hides the cookies from scripts. Default true.
	// +optional
	HTTPOnly *bool `json:"httpOnly,omitempty"`
	// secure sends the cookies over TLS only. Default false.
	// +optional
	Secure bool `json:"secure,omitempty"`
	// sameSite is Strict, Lax or None. Default Lax.
	// +kubebuilder:validation:Enum=Strict;Lax;None
	// +optional
	SameSite string `json:"sameSite,omitempty"`
	// partitioned keeps the cookies apart by top-level site. Default false.
	// +optional
	Partitioned bool `json:"partitioned,omitempty"`
}

// FailurePolicy tells what happens when the failed checks reach the threshold.
type FailurePolicy string

const (
	// OnFailureRollback takes the new version back.
	OnFailureRollback FailurePolicy = "Rollback"
	// OnFailureFreeze leaves everything as it is until a person decides.
	OnFailureFreeze FailurePolicy = "Freeze"
)

// Bake judges the primary after a promotion.
//
// +kubebuilder:validation:XValidation:rule="duration(self.duration) >= duration('1s')",message="duration must be at least 1s"
type Bake struct {
	// duration of the bake. Checks of all metrics, with the primary in the canary's place, run once an interval.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms)){1,4}$`
	// +required
	Duration string `json:"duration"`
	// threshold is the number of failed checks at which the previous revision is brought back. Default 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Threshold int32 `json:"threshold,omitempty"`
}

// NoDataPolicy tells what a check without data means.
type NoDataPolicy string

const (
	// NoDataHold waits for data until the deadline.
	NoDataHold NoDataPolicy = "Hold"
	// NoDataFail counts a failed check.
	NoDataFail NoDataPolicy = "Fail"
	// NoDataPass takes the check as passed.
	NoDataPass NoDataPolicy = "Pass"
)

// CanaryMetric is one metric with its limits: one of the built-in "request-success-rate" (percent) and "request-duration"
// (p99 in milliseconds), an inline query, or a MetricTemplate.
//
// +kubebuilder:validation:XValidation:rule="has(self.thresholdRange) || has(self.threshold)",message="give thresholdRange with min, max or both"
type CanaryMetric struct {
	// name of the metric.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
	// interval is the window of the query. It never reaches back before the rollout's first traffic. Default 1m.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms)){1,4}$`
	// +optional
	Interval string `json:"interval,omitempty"`
	// thresholdRange is the range in which the value is good, limits included.
	// +optional
	ThresholdRange *ThresholdRange `json:"thresholdRange,omitempty"`
	// threshold is the older form of thresholdRange: the least value for request-success-rate, the largest for others.
	//
	// Deprecated: use thresholdRange.
	// +optional
	Threshold *float64 `json:"threshold,omitempty"`
	// query is an inline PromQL query. Deprecated: use templateRef.
	// +kubebuilder:validation:MaxLength=10000
	// +optional
	Query string `json:"query,omitempty"`
	// templateRef names a MetricTemplate.
	// +optional
	TemplateRef *NamespacedRef `json:"templateRef,omitempty"`
	// templateVariables are available in the template as {{ variables.<key> }}.
	// +kubebuilder:validation:MaxProperties=50
	// +optional
	TemplateVariables map[string]string `json:"templateVariables,omitempty"`
}

// ThresholdRange is the range in which a value is good, limits included.
//
// +kubebuilder:validation:XValidation:rule="has(self.min) || has(self.max)",message="give min, max or both"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="min must not be larger than max"
type ThresholdRange struct {
	// min is the least good value.
	// +optional
	Min *float64 `json:"min,omitempty"`
	// max is the largest good value.
	// +optional
	Max *float64 `json:"max,omitempty"`
}

// NamespacedRef names an object. Default namespace: the Canary's.
type NamespacedRef struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// namespace of the object.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// HookType tells when a webhook is called and what its answer means.
type HookType string

const (
	// HookConfirmRollout is asked before the canary is scaled up; until it agrees the rollout waits.
	HookConfirmRollout HookType = "confirm-rollout"
	// HookPreRollout is asked before the canary gets traffic; a refusal is a failed check.
	HookPreRollout HookType = "pre-rollout"
	// HookRollout is asked in each check; a refusal is a failed check.
	HookRollout HookType = "rollout"
	// HookConfirmTrafficIncrease is asked before each rise of the canary's weight; until it agrees the step holds.
	HookConfirmTrafficIncrease HookType = "confirm-traffic-increase"
	// HookConfirmPromotion is asked before the promotion; until it agrees the rollout waits and goes on being judged.
	HookConfirmPromotion HookType = "confirm-promotion"
	// HookRollback is asked all the time; when it agrees the rollout is rolled back.
	HookRollback HookType = "rollback"
	// HookPostRollout is told the end of a rollout.
	HookPostRollout HookType = "post-rollout"
	// HookEvent is told every event.
	HookEvent HookType = "event"
)

// CanaryWebhook is an HTTP endpoint: POST with a JSON body; any 2xx answer means yes.
type CanaryWebhook struct {
	// name of the webhook.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
	// type tells when it is called. Default rollout.
	// +kubebuilder:validation:Enum="";confirm-rollout;pre-rollout;rollout;confirm-traffic-increase;confirm-promotion;rollback;post-rollout;event
	// +optional
	Type HookType `json:"type,omitempty"`
	// url that is called.
	// +kubebuilder:validation:Pattern=`^https?://.+`
	// +kubebuilder:validation:MaxLength=2048
	// +required
	URL string `json:"url"`
	// timeout of one attempt. Default 10s.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +optional
	Timeout string `json:"timeout,omitempty"`
	// retries after a failed attempt: connection errors, 429 and 5xx. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Retries int32 `json:"retries,omitempty"`
	// disableTLS skips the verification of the server's certificate. Default false.
	// +optional
	DisableTLS bool `json:"disableTLS,omitempty"`
	// muteAlert keeps this hook's refusals out of alerts. Default false.
	// +optional
	MuteAlert bool `json:"muteAlert,omitempty"`
	// secretRef names a Secret: "hmacKey" signs each call (header X-Siskin-Signature), "token" is sent as bearer token.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// metadata is sent along.
	// +kubebuilder:validation:MaxProperties=50
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}

// SecretRef names a Secret in the same namespace.
type SecretRef struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// AlertSeverity filters alerts.
type AlertSeverity string

const (
	// SeverityInfo lets everything pass.
	SeverityInfo AlertSeverity = "info"
	// SeverityWarn lets warnings and errors pass.
	SeverityWarn AlertSeverity = "warn"
	// SeverityError lets errors pass.
	SeverityError AlertSeverity = "error"
)

// CanaryAlert sends notices to an AlertProvider.
type CanaryAlert struct {
	// name of the alert.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
	// severity is the least severity that is sent: info, warn or error. Default info.
	// +kubebuilder:validation:Enum="";info;warn;error
	// +optional
	Severity AlertSeverity `json:"severity,omitempty"`
	// providerRef names the AlertProvider.
	// +required
	ProviderRef NamespacedRef `json:"providerRef"`
}
