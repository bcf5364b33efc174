# doula run --workers lines sh square.sh ::: 1 2 3
# Without jq, for inputs that have no quotes and no backslashes in them.
while IFS= read -r line; do
    id=${line#*'"id":'} id=${id%%,*}
    input=${line#*'"input":"'} input=${input%\"*}
    case $input in
        *[!0-9]*) printf '{"id":%s,"error":"no number: %s"}\n' "$id" "$input" ;;
        *) printf '{"id":%s,"output":%s}\n' "$id" $((input * input)) ;;
    esac
done
