{{/* decant.file: a file of the kustomize base, with the namespace of this release. */}}
{{- define "decant.file" -}}
{{ .root.Files.Get (printf "files/%s" .path) | required (printf "%s is not in the chart" .path) | replace "decant-system" .root.Release.Namespace }}
{{- end }}

{{/* decant.setting: a value in the format of the controller's variables: JSON, or lists and pairs separated by commas. */}}
{{- define "decant.setting" -}}
{{- if has .key (list "podResources" "podAnnotations" "tolerations") -}}
{{ toJson .value }}
{{- else if kindIs "map" .value -}}
{{- $pairs := list }}{{ range $name, $value := .value }}{{ $pairs = append $pairs (printf "%s=%s" $name $value) }}{{ end -}}
{{ join "," $pairs }}
{{- else if kindIs "slice" .value -}}
{{ join "," .value }}
{{- else if kindIs "float64" .value -}}
{{ int64 .value }}
{{- else -}}
{{ .value }}
{{- end }}
{{- end }}
