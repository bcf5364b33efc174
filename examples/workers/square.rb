# doula run --workers lines ruby square.rb ::: 1 2 3
require "json"
$stdout.sync = true

$stdin.each_line do |line|
  task = JSON.parse(line)
  answer = { id: task["id"], output: Integer(task["input"]) ** 2 } rescue { id: task["id"], error: $!.message }
  puts JSON.generate(answer)
end
